"""Users' requests to a running system in a terminal: live events, usage, files of results.

Requests that programs share are in `shared.client`.

| module | idea |
|---|---|
| `watch` | live events, each once |
| `used`, `usage` | sums of usage; the stream USAGE |
| `times`, `labels` | times and labels in users' notation |
| `files` | files that are complete or absent |
| `segment` | a stored segment as a video |
| `clips`, `frames` | a moment's video and picture, and the frames of a model's input, as files |
| `tracked` | a track's video and picture |
| `catalogue` | recordings as Parquet |
| `console` | one-time links into the console |
"""
