"""Workers' jobs, and the reports of their work.

| module | idea |
|---|---|
| `jobs` | a job for a model: what it asks, of which video |
| `backfill` | deferred frames of a segment |
| `reanalysis` | recorded video, and what became of it |
| `runs` | the progress of runs over recordings |
| `stats` | a worker's heartbeat |
| `usage` | arrivals and work by the minute |
"""
