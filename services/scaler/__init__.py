"""How many replicas a service needs: our external scaler for KEDA, KEDA's arithmetic, and the local autoscaler.

    KEDA ───gRPC──▶ service ──┐
                              ├─▶ estimator ─▶ consumers (JetStream, one question a second), heartbeats ─▶ demand
    tidegate up ▶ autoscaler ─┘

| module | idea |
|---|---|
| `demand`, `observation` | arrivals, backlog and the rate of a replica into replicas to run; pure |
| `arrivals`, `forecast`, `service_rate` | the demand's own parts; pure |
| `metadata` | a trigger's metadata into what is asked |
| `estimator`, `live`, `camera_count` | one live metric for each distinct query: of a consumer, or of cameras |
| `consumers`, `wakeups` | what JetStream says of a consumer; hearing of the first message on an idle one |
| `heartbeats`, `metrics_page` | what workers say of themselves, or Prometheus of them, as sums that only grow |
| `expiry` | messages that left a stream before a consumer saw them; pure |
| `service`, `settings` | the external scaler by gRPC; `externalscaler.proto` is KEDA's interface |
| `explainer`, `metrics` | every term of an estimate, for a person and for Prometheus |
| `scaledobject` | a KEDA `ScaledObject` file into structs, checked as KEDA and Kubernetes check it |
| `keda` | metrics and a clock into a replica count, as KEDA and the HPA decide it; pure |
| `cost`, `accounts` | what replicas used, busy, idle and warming, and the saving against a static fleet |
| `replicas` | a pool of processes: started, drained, restarted after a crash |
| `autoscaler` | the loop: read the triggers, decide, scale the pool |
"""
