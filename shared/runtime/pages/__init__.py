"""HTTP pages of a process: their server, /healthz, /readyz and /metrics, and former names of metrics."""
