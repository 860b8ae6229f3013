"""A ScaledObject, and the replicas that KEDA and the HPA would run for it, given metrics and a clock. Pure.

    scaled = load(Path("deploy/keda/cv.yaml"))
    decision = Keda(scaled, now=0.0).step(now, [lag], replicas)

| module | idea |
|---|---|
| `expression` | the parts of a compiled formula, and what each gives |
| `formula` | `scalingModifiers.formula` into such parts, with its types checked |
| `scaledobject` | the file, checked as KEDA's webhook and the API server check it |
| `source` | what KEDA makes of triggers: values, targets, errors, fallbacks, the formula's composite |
| `reconciler` | of which triggers the HPA is made, and when it is made anew |
| `reason` | a decision, and its cause in words |
| `executor` | KEDA's executor: activation, pauses, cooldown, the idle count, scaling to zero |
| `hpa` | the HPA: ceil(metric / target), tolerance, stabilisation, rate policies, bounds |
| `decision` | both controllers, each by its own clock |
| `threshold` | how large a `lagThreshold` should be |

Each module imports only those above it in this table.
"""
