"""Live metrics for KEDA, from the state of JetStream, the workers and the cameras.

| module | idea |
|---|---|
| `metadata` | a query from a trigger's metadata |
| `heartbeats`, `metrics_page` | the workers' own counters: from their heartbeats, or from a Prometheus page |
| `answers` | a metric that is continuously updated, its value and its explanation |
| `camera_count` | the replicas of ingest that the enabled cameras need |
| `history` | a policy's observations of the last hour, as bytes |
| `shortage` | why fewer replicas are ready than needed |
| `monitor` | a policy's observations of one consumer and its workers, stored for the scaler that takes over |
| `consumer_demand` | the policy's latest estimate for a consumer |
| `collector` | every term of every estimate, for Prometheus |
| `live_metrics` | one live metric for each distinct query |
| `explainer` | explains the replicas of a service |

Each module imports only those above it in this table, or in its row.
"""
