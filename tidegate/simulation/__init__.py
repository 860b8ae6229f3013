"""Scaling policies against arrival traces, on a simulated queue.

| module | idea |
|---|---|
| `trace` | an arrival trace from a file, and its arrival times |
| `generate` | synthetic traces: days, bursts, a flash crowd, a ramp, an outage |
| `queue` | waiting segments, and replicas that take them, between two decisions |
| `gpus` | GPU metrics as in Prometheus, with their delay |
| `policies` | static, KEDA by lag or GPU utilisation, Knative, Ray Serve and demand; each has a clock and a rule |
| `engine` | one policy over one trace, and its cost |
| `oracle` | the oracle policy: the minimum cost of any policy |
| `compare` | all of them, with KEDA tuned to its best |
"""
