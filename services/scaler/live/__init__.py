"""Live metrics: the state of JetStream, the workers and the cameras, and every term of the estimate from it.

| module | idea |
|---|---|
| `metadata` | a query from a trigger's metadata |
| `heartbeats`, `metrics_page` | the workers' own counters: from their heartbeats, or from a Prometheus page |
| `listeners` | functions that are called after each answer |
| `answers` | a metric that is continuously updated, its value and its explanation |
| `metrics` | the scaler's own metrics |
| `expiry`, `wakeups` | messages that expired before delivery; the first message on an idle consumer |
| `consumers` | the state of consumers in JetStream |
| `camera_count` | the replicas that the enabled cameras need |
| `history` | a policy's observations of the last hour, as bytes |
| `monitor` | a policy's observations of one consumer and its workers, stored for the scaler that takes over |
| `estimator` | one live metric for each distinct query |
| `explainer` | explains the replicas of a service |

Each module imports only those above it in this table, or in its row.
"""
