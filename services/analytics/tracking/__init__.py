"""Objects of a camera: detections matched over frames, their places, and counts of a minute. Pure.

| module | idea |
|---|---|
| `objects`, `tracker` | a followed object; which objects of a frame match those of the frames before |
| `places`, `counts` | zones entered and lines crossed; a minute's numbers |
| `following` | the followed objects of a camera: filtered, matched, with missed frames filled in |

Each module imports only those above it in this table, or in the same row.
"""
