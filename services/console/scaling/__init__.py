"""The page Scaling: what runs now and why, and what would have been with other settings.

| module | idea |
|---|---|
| `usage` | the messages of USAGE, for a simulation |
| `child` | one simulation, in a process that never outlives us |
| `whatif` | whose simulations run, and what those that ended said |
| `now` | what each service is scaled by, as its scaler says |
| `room` | both of them, for the routes |
| `routes` | the API |
"""
