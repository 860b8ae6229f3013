"""Real cameras, a surge, workers that follow it, and the report that a run leaves behind."""
