"""Live metrics: what JetStream, the workers and the cameras say now, and every term of the estimate made of it."""
