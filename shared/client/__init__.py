"""Requests to a running system by any process that has the rights.

| module | idea |
|---|---|
| `secret_entries` | entries of buckets whose former value is overwritten on disk |
| `registry` | cameras: add, change, list, remove; the last status of one |
| `rules` | the rules of cameras, and the picture they are drawn into |
| `pictures` | pictures of alerts |
| `recordings` | recordings, and the video of any time |
| `dlq` | dead letters: read and replay |
| `copying` | whether ALERTS copies EVENTS |
| `tracks` | the tracks of a camera |
| `explain` | explanations of a service's replicas by the running scalers |
| `find`, `ask` | moments of search and their video; a question to a vision language model |
| `rates` | arrival rates, latencies, and the last objects seen |
"""
