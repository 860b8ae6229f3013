"""Scaling policies against arrival traces, on a simulated queue.

| module | idea |
|---|---|
| `compiled` | numba's compiler, if installed |
| `trace` | an arrival trace from a file, and its arrival times |
| `generate` | synthetic traces: days, bursts, a flash crowd, a ramp, an outage |
| `queue` | waiting segments, and replicas that take them, between two decisions |
| `series` | a trace and its replicas, reduced to the points of a plot |
| `engine` | one policy over one trace, and its cost; processes for many |
| `policies` | static, KEDA by lag or GPU utilisation, Knative, Ray Serve, demand: each has a clock and a rule |
| `oracle` | the oracle policy: the minimum cost of any policy |
| `compare` | all of them, with KEDA tuned to its best |
"""
