"""How many replicas a consumer's work needs: arrivals, backlog and the rate of a replica into a demand. Pure.

| module | idea |
|---|---|
| `observation` | what the policy is told, about once a second |
| `arrivals` | the rate at which messages arrive, and whether it has really changed |
| `forecast` | what that rate will hardly exceed when a replica asked for now is ready |
| `deferral` | how much leaner the plan may be where work bends: learned from what was left out |
| `service_rate` | messages a second of one busy replica, measured |
| `warming` | when the replicas that were asked for will be ready |
| `peak` | the greatest number of the last seconds |
| `expiry` | how much of what was deferred is about to expire |
| `stuck` | the part of a backlog that does not drain |
| `estimate` | the result with every term, and in words |
| `policy` | the sum, and what keeps replicas that it would let go |

Each module imports only those above it in this table. What tunes them is a struct in each, named `…Tuning`.
"""
