"""Recordings: what there is of each camera, why some is missing, its video as HTTP Live Streaming, and runs over it.

| module | idea |
|---|---|
| `shown` | what the API says of recordings |
| `second` | what was recorded, looked at a second time: how far each run is |
| `routes` | their routes |
"""
