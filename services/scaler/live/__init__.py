"""Live metrics: what JetStream, the workers and the cameras say now, and every term of the estimate made of it.

| module | idea |
|---|---|
| `metadata` | a trigger's metadata into what is asked |
| `heartbeats`, `metrics_page` | the workers' own counters: from their heartbeats, or from a Prometheus page |
| `answers` | a metric that is kept up to date, its value and its explanation |
| `metrics` | what the scaler exports of its own work |
| `expiry`, `wakeups` | messages that expired unseen; the first message on an idle consumer |
| `consumers` | what JetStream says of consumers |
| `camera_count` | how many replicas the enabled cameras need |
| `history` | what a policy was told in the last hour, as bytes |
| `monitor` | all that a policy is told of one consumer and its workers, kept for the scaler that takes over |
| `estimator` | one live metric for each distinct query |
| `explainer` | answers why a service gets so many replicas |

Each module imports only those above it in this table, or beside it.
"""
