"""Scaling policies against arrival traces, on a simulated queue.

| module | idea |
|---|---|
| `pools`, `compiled` | processes for parallel simulations; numba's compiler, if installed |
| `trace` | an arrival trace from a file, and its arrival times |
| `generate` | synthetic traces: days, bursts, a flash crowd, a ramp, an outage |
| `queue` | waiting segments, and replicas that take them, between two decisions |
| `engine` | one policy over one trace, and its cost |
| `gpus` | GPU metrics as in Prometheus, with their delay |
| `policies` | static, KEDA by lag or GPU utilisation, Knative, Ray Serve and demand; each has a clock and a rule |
| `oracle` | the oracle policy: the minimum cost of any policy |
| `compare` | all of them, with KEDA tuned to its best |
"""
