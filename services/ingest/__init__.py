"""Cameras' video to JetStream, compressed as it is.

| module | idea |
|---|---|
| `fleet` | which cameras run here: wanted, leased, running |
| `leases` | one process a camera, shared fairly, taken over when one dies |
| `runner` | one camera: connections, backoff, on line and off line |
| `connection` | one connection: a thread that reads and cuts |
| `source` | opening RTSP and files, and why they end |
| `segmenter` | packets to segments: `cutter`, `clock`, `timestamps`, `parameters`, `muxer` |
| `delivery` | a camera's segments on their way: `outbox` before, `publisher` after |
| `announcer` | events of cameras that come and go |
"""
