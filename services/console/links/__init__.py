"""What the console reaches: NATS by the rights of each role, buckets that it mirrors, and child processes."""
