"""Video in memory.

| module | idea |
|---|---|
| `mp4` | reads and writes the boxes of an MP4, without libav |
| `container` | opens a segment's MP4 |
| `orientation` | the orientation of a frame |
| `recovery` | finds recovery points: where decoding may begin without a keyframe |
| `accelerator` | opens a device that decodes, and stores its idle decoders |
| `budget` | limits and measures a segment's cost |
| `decode` | decodes upright pictures of a segment |
| `hardware` | decodes on a device, and in software what it can't decode |
| `costly` | quarantines cameras whose video costs too much |
| `gop` | fetches the segments before one that was cut inside its GOP |
| `main_stream` | finds the segment of a camera's main stream that shows an instant |
| `segments` | decodes segments of MEDIA in threads, with their predecessors, within the budget |
| `timestamps` | makes decode times that the muxer accepts |
| `covering` | finds the pixels that masks cover |
| `pictures` | reads, scales, masks and writes single pictures |
| `decoding` | decodes pictures of segments in child processes |
| `timeline` | puts segments one after the other on a clock |
| `fmp4` | makes fragmented MP4 for browsers of segments |
"""
