"""What has arrived so far, what each way to scale would have cost on it, and the ScaledObject that follows.

| module | idea |
|---|---|
| `measured` | what a replica does in a second, and how long one takes to be there |
| `pattern` | the day, the week, the peak, and rises that come faster than a replica |
| `candidates` | the ScaledObjects that are tried |
| `costs` | each of them over the arrivals, and which is recommended |

Pure, but for the processes that simulate beside each other.
"""
