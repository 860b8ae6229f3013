"""Shares of all cameras, each with one process at a time: its state, its checkpoint in KV, and what it publishes.

| module | idea |
|---|---|
| `published_ids`, `reading` | ids published since the checkpoint; verdicts, and how far the log reaches |
| `extension` | the seam for an optional further analysis of the same cameras |
| `partition` | a fixed share of all cameras |
| `entries`, `checkpoint` | entries of KV, each written by one process; the states and the position in them |
| `sharing` | which partitions this process has |
| `publisher` | publish events, verification requests and dead letters |

Each module imports only those above it in this table, or in the same row.
"""
