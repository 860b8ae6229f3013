"""Video in memory.

| module | idea |
|---|---|
| `container` | opens a segment's MP4 |
| `orientation` | says which way up a frame is shown |
| `decode` | makes upright pictures of a segment |
| `gop` | fetches the segments before one that was cut inside its GOP |
| `timestamps` | makes decode times that the muxer takes |
| `pictures` | reads, scales and writes single pictures |
"""
