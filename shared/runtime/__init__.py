"""A process: its settings, logs, metrics, health and traces, its errors, tasks and children.

| module | idea |
|---|---|
| `errors` | the errors that Tidegate raises on purpose |
| `install` | the command that installs missing packages |
| `redact`, `plain` | text without credentials; foreign text made harmless for terminals and headers |
| `problems` | what is wrong with the processes on one machine |
| `times` | times in users' notation |
| `settings` | environment variables into structs |
| `telemetry` | logs, health and traces |
| `tls` | certificates from settings |
| `pages`, `probe` | /healthz, /readyz and /metrics by HTTP; the container's health check |
| `ticks` | common ticks of the clock, for periodic work |
| `tasks`, `child` | concurrent tasks; child processes that never outlive us |
| `progress` | reports that long work still runs |
| `backoff` | delays between tries; no requests to a failing server |
| `private_file` | a file for its owner alone, written atomically |
| `lock`, `ports` | a file lock of one process; free TCP ports |
| `systemd` | the start and the stop, for the service manager |
| `lazy` | modules that load at their first use |
"""
