"""A ScaledObject, and the replicas that KEDA and the HPA would run for it, given metrics and a clock. Pure.

    scaled = load(Path("deploy/keda/cv.yaml"))
    decision = Keda(scaled, now=0.0).step(now, [lag], replicas)

| module | idea |
|---|---|
| `scaledobject` | the file, checked as KEDA's webhook and the API server check it |
| `source` | KEDA's view of triggers: values, targets, errors, fallbacks, the sum of a formula |
| `reconciler` | the triggers that the HPA is created from, and when it is recreated |
| `reason` | a decision, and a text of its cause |
| `executor` | KEDA's executor: activation, cooldown, scaling to zero |
| `hpa` | the HPA: ceil(metric / target), tolerance, stabilisation, rate policies, bounds |
| `decision` | both controllers, each by its own clock |
| `threshold` | how large a `lagThreshold` should be |

Each module imports only those above it in this table.
"""
