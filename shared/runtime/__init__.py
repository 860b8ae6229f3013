"""A process: its settings, logs, metrics, health and traces, its errors, tasks and children."""
