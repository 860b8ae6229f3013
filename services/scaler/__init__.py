"""The replicas that a service needs, as answers to KEDA. A cluster runs all of it.

    JetStream ──▶ consumers.readers ──┐
                                      ├─▶ live.monitor ──▶ live.consumer_demand ──▶ demand.policy ──▶ Estimate
    workers ────▶ live.heartbeats ────┘

    KEDA ──HTTP──▶ page ───────────────┐
    KEDA ──gRPC──▶ external_scaler ────┼─▶ live.live_metrics, which has the latest Estimate of each query
    tidegate.local ────────────────────┘

| module | idea |
|---|---|
| `metrics` | the counters that the scaler exports |
| `demand` | the replicas to run, from arrivals, backlog and the rate of a replica; pure |
| `consumers` | the state of consumers in JetStream, polled |
| `live` | one live metric for each distinct query, from consumers, workers and cameras; its explanation |
| `cost` | the time that replicas used, busy, idle and warming, and the saving against a static fleet |
| `settings`, `page` | settings from the environment; the demand by HTTP, for KEDA's `metrics-api` |
| `external_scaler` | the same as an external scaler, by gRPC; `externalscaler.proto` is KEDA's interface |

Each imports only those above it in this table.
"""
