"""The arrivals so far, what each scaling policy would have cost on them, and the recommended ScaledObject.

| module | idea |
|---|---|
| `candidates` | the ScaledObjects to compare |
| `arrivals` | the recorded arrivals and measured workers of a service, and the workload to simulate |
| `pattern` | the day, the week, the peak, and rises faster than a cold start |
| `trial` | the simulation of one of them |
| `search` | the cheapest at a stated service and a stated loss, with few simulations |
| `costs` | the cost of each ScaledObject on the arrivals, and the recommendation |

Pure, except for the pool of simulating processes.
"""
