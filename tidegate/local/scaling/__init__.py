"""A pool of worker processes, scaled by the shipped ScaledObjects as KEDA and the HPA would.

| module | idea |
|---|---|
| `replicas` | one service's worker processes |
| `scaled_objects` | the shipped files, for a machine |
| `autoscaler` | reads, decides and scales |
| `division`, `fleet` | the parts of several machines; the machines that share a service |
"""
