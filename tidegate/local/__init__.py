"""The whole of Tidegate on one machine, as one unit that starts and stops.

| module | idea |
|---|---|
| `disk` | the limits of streams on this disk |
| `logs` | the size and the number of log files |
| `encryption`, `recording_keys` | the keys of the server's store and of recordings |
| `passwords`, `tenants`, `readers` | users of the server and their passwords; readers of EVENTS |
| `layout` | the format version of a data directory |
| `dashboards` | the configuration of a Prometheus and a Grafana |
| `server`, `cluster` | an embedded nats-server, or three as a cluster |
| `healing` | repairs: a restart of the server, a search index that is rebuilt |
| `scaling` | a pool of worker processes, scaled as KEDA and the HPA would |
| `running` | the running stack, for other commands |
| `stack` | the whole of Tidegate on one machine |
"""
