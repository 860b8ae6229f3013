"""The replicas that a service needs: answers to KEDA, KEDA's own arithmetic, and the local autoscaler.

    KEDA ───HTTP──▶ page ─────┐
    KEDA ───gRPC──▶ service ──┤
                              ├─▶ live: estimator ─▶ consumers, heartbeats ─▶ demand: policy
    tidegate up ▶ local ──────┘

| folder | idea |
|---|---|
| `demand` | the replicas to run, from arrivals, backlog and the rate of a replica; pure |
| `keda` | a `ScaledObject` file, and the replica count that KEDA and the HPA decide from metrics and a clock; pure |
| `live` | the state of JetStream, workers and cameras; one live metric for each distinct query, and its explanation |
| `cost` | the time that replicas used, busy, idle and warming, and the saving against a static fleet |
| `local` | a pool of processes, and the loop: read the triggers, decide, scale the pool |
| `simulation` | policies on traces of arrivals, and the oracle policy's cost |
| `page`, `settings` | the demand by HTTP, for KEDA's `metrics-api` |
| `service` | the same as an external scaler, by gRPC; `externalscaler.proto` is KEDA's interface |

Each folder imports only those above it in this table.
"""
