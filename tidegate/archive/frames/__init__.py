"""The frames of recordings: decoded, detected, embedded and tracked as those of live video.

| module | idea |
|---|---|
| `embedding` | the vectors of a piece |
| `decoding` | one piece, read and decoded |
| `analysis` | one decoded piece: detections and vectors, as result files |
| `probe` | a measurement before a run |
| `tracking` | tracks and incidents of a camera, from its detections |
"""
