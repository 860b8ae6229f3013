"""The replicas that a service needs, as answers to KEDA. A cluster runs all of it.

    KEDA ───HTTP──▶ page ──────────────┐
    KEDA ───gRPC──▶ service ───────────┤
                                       ├─▶ live: estimator ─▶ consumers, heartbeats ─▶ demand: policy
    tidegate up ▶ tidegate.local ──────┘

| folder | idea |
|---|---|
| `demand` | the replicas to run, from arrivals, backlog and the rate of a replica; pure |
| `live` | the state of JetStream, workers and cameras; one live metric for each distinct query, and its explanation |
| `cost` | the time that replicas used, busy, idle and warming, and the saving against a static fleet |
| `settings`, `page` | settings from the environment; the demand by HTTP, for KEDA's `metrics-api` |
| `service` | the same as an external scaler, by gRPC; `externalscaler.proto` is KEDA's interface |

Each folder imports only those above it in this table.
"""
