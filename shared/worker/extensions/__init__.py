"""The optional parts of the loop, attached in `shared.worker.assembly`. The loop imports none of them.

| module | idea |
|---|---|
| `effort` | elastic quality: the level of a message by its age, and what it cost |
| `stream_health`, `unreadable` | cameras whose segments can't be read: their events and dead letters |
| `quarantine` | a message that may have killed workers is processed alone |
| `spare` | the time in which a worker has nothing urgent to do |
| `deferral`, `backfill` | work deferred while capacity is short, and backfilled in spare time |
| `reanalysis` | recorded video analysed again on request, in spare time |
| `usage` | arrivals and the work they took, for `tidegate audit` |
"""
