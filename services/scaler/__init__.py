"""How many replicas a service needs: what KEDA asks us, KEDA's own arithmetic, and the local autoscaler.

    KEDA ───HTTP──▶ page ─────┐
    KEDA ───gRPC──▶ service ──┤
                              ├─▶ live: estimator ─▶ consumers, heartbeats ─▶ demand: policy
    tidegate up ▶ local ──────┘

| folder | idea |
|---|---|
| `demand` | arrivals, backlog and the rate of a replica into replicas to run; pure |
| `keda` | a `ScaledObject` file, and metrics and a clock into a replica count as KEDA and the HPA decide it; pure |
| `live` | what JetStream, workers and cameras say now; one live metric for each distinct query, and its explanation |
| `cost` | what replicas used, busy, idle and warming, and the saving against a static fleet |
| `local` | a pool of processes, and the loop: read the triggers, decide, scale the pool |
| `simulation` | policies on traces of arrivals, and the least that any policy could have spent |
| `page`, `settings` | the demand by HTTP, for KEDA's `metrics-api` |
| `service` | the same as an external scaler, by gRPC; `externalscaler.proto` is KEDA's interface |

Each folder imports only those above it in this table.
"""
