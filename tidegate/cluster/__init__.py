"""The state of a Kubernetes cluster, from `kubectl`, and what Tidegate needs of it.

| module | idea |
|---|---|
| `kubectl`, `monitor` | requests to a cluster, and to the monitoring port of its NATS |
| `keda` | whether the cluster's KEDA knows every field of our ScaledObjects |
| `triggers` | what each trigger of a ScaledObject asks for, and its mistakes |
| `policies` | label selectors and NetworkPolicies, evaluated as Kubernetes does |
| `state` | the state of a cluster, gathered once |
| `checks` | the checks of that state, a line each; pure |
| `certificates`, `authority`, `issuing` | a cluster's certificates, and the CA that signs them |
| `secrets` | the Secrets of a cluster, from a folder of passwords |
"""
