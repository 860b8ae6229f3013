"""Scaling policies against arrival traces, on a simulated queue.

| module | idea |
|---|---|
| `trace` | an arrival trace from a file, and the instants made of it |
| `generate` | traces made up: days, bursts, a flash crowd, a ramp, an outage |
| `queue` | segments that wait, and replicas that take them, between two decisions |
| `gpus` | what Prometheus says of GPUs, and how late |
| `policies` | static, KEDA by lag or GPU utilisation, Knative, Ray Serve and demand, each as a clock and a rule |
| `engine` | one policy over one trace, and what it cost |
| `oracle` | the least that any policy could have spent |
| `compare` | all of them, with KEDA tuned to its best |
"""
