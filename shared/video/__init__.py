"""Video in memory.

| module | idea |
|---|---|
| `announced` | counts the frames that an MP4 announces, before libav does |
| `container` | opens a segment's MP4 |
| `orientation` | says which way up a frame is shown |
| `decode` | makes upright pictures of a segment |
| `budget` | says what a segment may cost, and measures it |
| `costly` | says which cameras' video cost too much, and is not decoded for a while |
| `segments` | decodes segments of MEDIA in threads, with those before them, within the budget |
| `recovery` | finds where decoding may begin without a keyframe |
| `gop` | fetches the segments before one that was cut inside its GOP |
| `timestamps` | makes decode times that the muxer takes |
| `pictures` | reads, scales and writes single pictures |
| `boxes` | reads and writes the boxes of an MP4, without libav |
| `parameter_sets` | names codecs as browsers do |
| `moov`, `moof` | the head of a fragmented MP4, and its fragments |
| `timeline` | puts segments one after the other on a clock |
| `fmp4` | makes of segments what browsers play |
"""
