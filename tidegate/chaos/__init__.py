"""Breaks a whole Tidegate on this machine, fault by fault, and counts the damage. See `tidegate chaos --help`.

| module | what it does |
|---|---|
| `ledger` | counts gaps and duplicates of a camera's video, and alerts by incident. Pure |
| `follower` | reads MEDIA and EVENTS into the ledger, whatever happens to the server |
| `intruder` | a client that may only read, and constantly tries to do more |
| `network_proxy`, `clock`, `disk` | the network, the wall clock and the disk that can be broken |
| `world` | the servers, cameras and services that are broken |
| `faults` | the faults, in order or by a seed |
| `trial` | a run: fault, recovery, count; and its table |
| `kills` | kills of one service's workers, and of the server, under a full backlog |
"""
