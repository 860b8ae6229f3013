"""Work that bends: while capacity is short less of each segment is looked at, and the rest later. Pure.

| module | idea |
|---|---|
| `levels` | how many frames of a segment are looked at, in a few steps |
| `brownout` | which of them, by how long a segment has waited |
| `sampling_plan` | how much of a segment is looked at, and how much is wanted |
| `costs` | what a segment takes of a replica, learned |
"""
