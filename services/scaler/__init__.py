"""How many replicas a service needs: KEDA's arithmetic, and the local autoscaler that acts on it.

| module | idea |
|---|---|
| `scaledobject` | a KEDA `ScaledObject` file into structs, checked as KEDA and Kubernetes check it |
| `keda` | metrics and a clock into a replica count, as KEDA and the HPA decide it; pure |
| `replicas` | a pool of processes: started, drained, restarted after a crash |
| `expiry` | messages that left a stream before a consumer saw them; pure |
| `autoscaler` | the loop: read the consumer, decide, scale the pool |
"""
