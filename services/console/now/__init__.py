"""The page Now: arrivals and backlog, the number of GPUs and its reason, their cost, and the history of all this.

| module | idea |
|---|---|
| `rates` | how fast something arrives |
| `timestamps` | when each sequence of a stream was stored |
| `progress` | a consumer's arrived, completed and expired messages |
| `replicas` | the heartbeats of a service's workers, and their sums |
| `camera_states` | the state of each camera |
| `reasons` | the term that decides the number of replicas, and its sentence |
| `model` | the answer to the page |
| `attention` | what needs attention |
| `ring` | the last hour, day and week, in bounded memory |
| `services` | the state of one service, as the page shows it |
| `bus_monitor` | messages on the bus, by service and camera |
| `polling`, `last_events` | requests: the state of consumers, and each camera's last events |
| `monitor` | the current state, from all of these |
| `prometheus` | older series |
| `time_steps` | times in a request |
| `history` | series over time, from the ring or from Prometheus |
| `markers` | incidents, outages and deployments in a range of time |
| `state` | all running parts |
| `routes` | the three requests |

Each module imports only modules above it or in its own row.
"""
