"""The page Now: arrivals and backlog, the number of GPUs and its reason, their cost, and the history of all this.

| module | idea |
|---|---|
| `rates` | how fast something arrives |
| `replicas` | the heartbeats of a service's workers, and their sums |
| `camera_states` | the state of each camera |
| `reasons` | the term that decides the number of replicas, and its sentence |
| `model` | the answer to the page |
| `attention` | what needs attention |
| `queues`, `services` | the consumers of a service, and its state as the page shows it |
| `bus_monitor` | messages on the bus, by service and camera |
| `polling` | requests for the state of consumers |
| `series` | series over time, and times in a request |
| `monitor` | the current state, from all of these |
| `markers` | incidents, outages and deployments in a range of time |
| `state`, `routes` | the state of the page; its routes |
"""
