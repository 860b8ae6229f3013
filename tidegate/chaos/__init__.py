"""Breaks a whole Tidegate on this machine, fault by fault, and counts what it cost. See `tidegate chaos --help`.

| module | what it does |
|---|---|
| `ledger` | counts: what is missing of a camera's time, what is there twice, alerts by incident. Pure |
| `follower` | reads MEDIA and EVENTS into the ledger, whatever happens to the server |
| `intruder` | somebody who may only read, and tries all the time to do more |
| `network_proxy`, `clock`, `disk` | the network, the wall clock and the disk that can be broken |
| `world` | the servers, cameras and services that are broken |
| `faults` | what is done to them, one after the other or by a seed |
| `trial` | a run: fault, recovery, count; and its table |
"""
