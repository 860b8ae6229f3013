"""A process: its settings, logs, metrics, health and traces, its errors, tasks and children.

| module | idea |
|---|---|
| `errors` | the errors that Tidegate raises on purpose |
| `redact`, `inert`, `plain` | text without credentials; foreign text made harmless for terminals and headers |
| `settings` | environment variables into structs |
| `telemetry` | logs, health and traces |
| `former_metrics` | renamed metrics under their former names |
| `tls`, `pages` | certificates from settings; HTTP pages of a process |
| `monitoring`, `probe` | /healthz, /readyz and /metrics; the container's health check |
| `tasks`, `child` | concurrent tasks; child processes that never outlive us |
| `progress` | reports that long work still runs |
| `backoff`, `breaker` | delays between tries; no requests to a failing server |
| `lock`, `ports` | a file lock of one process; free TCP ports |
| `lazy` | modules that load at their first use |
"""
