"""The page Now: what arrives and waits, how many GPUs there are and why, what they cost, and how all of it was before.

| module | idea |
|---|---|
| `rates` | how fast something comes |
| `stamps` | when a sequence of a stream was stored, by what was heard of it |
| `progress` | what has come to a consumer, what is done, and what expired unseen |
| `replicas` | the heartbeats of a service's workers, and what they add up to |
| `sightings` | what is known of each camera |
| `reasons` | the term that decides how many replicas there are, and its sentence |
| `model` | what the page is told |
| `attention` | what somebody should look at |
| `streams` | JetStream's word on streams and consumers |
| `ring` | the last hour, day and week, in memory of a bounded size |
| `services` | all that is known of one service, as the page is told it |
| `hearing` | what is said on the bus, by whom it is about |
| `polling`, `recalling` | what is asked: of consumers, and of what was said before |
| `watch` | what there is now, from all of these |
| `prometheus` | the same of longer ago |
| `history` | series over time, out of the ring or out of Prometheus |
| `markers` | incidents, outages and deployments in a range of time |
| `instants` | times as they stand in a request |
| `room` | all that runs |
| `routes` | the three requests |

Each imports only those above it, or beside it.
"""
