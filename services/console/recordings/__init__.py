"""Recordings: the video of each camera, its gaps and their causes, HTTP Live Streaming, and reanalysis runs.

| module | idea |
|---|---|
| `answers` | the API's answers about recordings |
| `reanalysis_runs` | reanalysis runs over recordings, and their progress |
| `routes` | their routes |
"""
