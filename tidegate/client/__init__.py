"""Users' requests to a running system in a terminal: usage, files of results.

Requests that programs share are in `shared.client`.

| module | idea |
|---|---|
| `usage` | sums of the stream USAGE |
| `times`, `labels` | times and labels in users' notation |
| `files` | files that are complete or absent |
| `clips` | a moment's video and picture |
| `tracked` | a track's video and picture |
| `catalogue` | recordings as Parquet |
| `webhook` | where the webhook stands, and moves of its start |
| `console` | one-time links into the console |
"""
