"""The page Scaling: what runs now and why, and simulations of other settings.

| module | idea |
|---|---|
| `usage` | the messages of USAGE, for a simulation |
| `child` | one simulation, in a child process |
| `whatif` | the simulations of each person, and their results |
| `now` | how each service is scaled, from its scaler |
| `state` | both of them, for the routes |
| `routes` | the API |
"""
