"""Shares of all cameras, each with one process at a time: its state, its checkpoint in KV, and what it publishes.

| module | idea |
|---|---|
| `published_ids`, `reading` | ids published since the checkpoint; verdicts, and how far the log reaches |
| `partition` | a fixed share of all cameras |
| `checkpoint` | state to remember, in KV |
| `sharing` | which partitions this process has |
| `publisher` | publish events, verification requests and dead letters |

Each module imports only those above it in this table.
"""
