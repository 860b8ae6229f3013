"""Ingest publishes cameras' video to JetStream, compressed as it came.

| module | idea |
|---|---|
| `fleet` | decides which cameras run in this process: those that are wanted, enabled and leased |
| `runner` | runs one camera: reconnects, and announces when it goes online or offline |
| `rotation` | decides which cameras have a place when more are wanted than there are places |
| `connect_queue` | decides which camera is connected to next |
| `connection` | is one connection: a thread that reads packets and cuts segments |
| `handshake` | checks that a camera answers for itself, before libav has its password |
| `source` | opens a camera or a file; `coalesced_reads` reads a live camera several packets at a time |
| `failures` | explains why a camera gives no video, and what to do |
| `segmenter` | makes segments of packets, with `cutter`, `clock`, `parameters`, `recovery_points` and `muxer` |
| `delivery` | publishes one camera's segments: `outbox` buffers them, `publisher` sends them within `in_flight_limit` |
| `announcer` | publishes events of cameras that go online and offline |
| `look` | opens a camera once, before somebody adds it |
| `usage` | counts what each camera has sent, minute by minute |
"""
