"""The replicas that a consumer's work needs: a demand from arrivals, backlog and the rate of a replica. Pure.

| module | idea |
|---|---|
| `observation` | the policy's input, about once a second |
| `arrivals` | the arrival rate, and whether a change of it is significant |
| `forecast` | a quantile of that rate for the time when a replica requested now is ready |
| `deferral` | whether the plan may rely on deferred frames |
| `service_rate` | the measured messages per second of one busy replica |
| `warming` | when the requested replicas will be ready |
| `peak` | the maximum over the last seconds |
| `expiry` | the rate at which deferred segments must be backfilled |
| `stuck` | the part of a backlog that does not drain |
| `parameters` | the operator's settings, the constants, and the times that follow from both |
| `progress` | when work last arrived, and when it was last done |
| `estimate` | the result with every term, and its explanation |
| `policy` | the sum, and the rules that retain replicas |

Each module imports only those above it in this table. The terms have their own parameters at their
beginning, the sum has those in `parameters`.
"""
