"""Ingest publishes cameras' video to JetStream, compressed as it came.

| module | idea |
|---|---|
| `settings`, `metrics` | settings from the environment; exported metrics |
| `failures` | explains why a camera gives no video, and what to do |
| `memory` | bounds a single allocation of libav |
| `handshake` | checks that a camera answers for itself, before libav has its password |
| `cutter`, `parameters`, `recovery_points` | where segments begin: at keyframes, new parameters or recovery points |
| `muxer` | writes packets as one fragmented MP4 |
| `segmenter` | makes segments of packets, with `cutter`, `parameters`, `recovery_points` and `muxer` |
| `clock` | puts a camera's timestamps on the wall clock |
| `coalesced_reads` | reads a live camera several packets at a time |
| `source` | opens a camera or a file, and reads its packets |
| `look` | opens a camera once, before somebody adds it |
| `segment_rate` | limits a camera's segments to the pace of real time |
| `connection` | one connection: a thread that reads packets and cuts segments |
| `connect_queue` | decides which camera is connected to next |
| `outbox` | buffers segments while JetStream is away |
| `in_flight_limit`, `publisher` | publishes segments until they are acknowledged, within a limit of bytes |
| `delivery` | publishes one camera's segments in order |
| `announcer` | publishes events of cameras that go online and offline |
| `usage` | counts what each camera has sent, minute by minute |
| `runner` | runs one camera: reconnects, and announces when it goes online or offline |
| `wanted` | the cameras that the buckets name, with their credentials |
| `rotation` | decides which cameras have a place when more are wanted than there are places |
| `handover` | hands a running camera to another ingest without a gap |
| `fleet` | decides which cameras run in this process: those that are wanted, enabled and leased |
"""
