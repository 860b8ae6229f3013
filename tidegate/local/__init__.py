"""The whole of Tidegate on one machine, as one unit that starts and stops.

| module | idea |
|---|---|
| `port` | the port of the server |
| `disk` | the limits of streams on this disk |
| `logs` | the size and the number of log files |
| `encryption`, `recording_keys` | the keys of the server's store and of recordings |
| `passwords`, `tenants`, `readers` | users of the server and their passwords; readers of EVENTS |
| `layout` | the format version of a data directory |
| `dashboards` | the configuration of a Prometheus and a Grafana |
| `server`, `cluster` | an embedded nats-server, or three as a cluster |
| `healing` | repairs: a restart of the server, a search index that is rebuilt |
| `last_error` | why a process ended, by its log |
| `scaling` | a pool of worker processes, scaled as KEDA and the HPA would |
| `running` | the running stack, for other commands |
| `declared` | site files: load, compare, apply |
| `problems`, `problem_monitor` | what is wrong with its processes, for other commands; how that is found |
| `workers` | the autoscaled services of one machine, for a server elsewhere |
| `stack` | the whole of Tidegate on one machine |
| `preflight` | the settings of its services, checked before the start |
"""
