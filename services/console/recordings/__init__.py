"""Recordings: the video of each camera, its gaps and their causes, HTTP Live Streaming, and reanalysis runs.

| module | idea |
|---|---|
| `answers` | the API's answers about recordings |
| `periods` | the cameras with recordings, and their periods |
| `reanalysis_runs` | reanalysis runs over recordings, and their progress |
| `state`, `routes` | the state of the page; its routes |
"""
