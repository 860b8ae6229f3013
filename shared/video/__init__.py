"""Video in memory.

| module | idea |
|---|---|
| `announced` | counts the frames that an MP4 announces, before libav does |
| `container` | opens a segment's MP4 |
| `orientation` | the orientation of a frame |
| `decode` | decodes upright pictures of a segment |
| `budget` | limits and measures a segment's cost |
| `costly` | quarantines cameras whose video costs too much |
| `segments` | decodes segments of MEDIA in threads, with their predecessors, within the budget |
| `recovery` | finds recovery points: where decoding may begin without a keyframe |
| `gop` | fetches the segments before one that was cut inside its GOP |
| `timestamps` | makes decode times that the muxer accepts |
| `pictures` | reads, scales and writes single pictures |
| `boxes` | reads and writes the boxes of an MP4, without libav |
| `parameter_sets` | names codecs as browsers do |
| `moov`, `moof` | the head of a fragmented MP4, and its fragments |
| `timeline` | puts segments one after the other on a clock |
| `fmp4` | makes fragmented MP4 for browsers of segments |
"""
