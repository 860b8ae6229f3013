"""Ingest publishes cameras' video to JetStream, compressed as it came.

| module | idea |
|---|---|
| `fleet` | decides which cameras run in this process: those that are wanted, enabled and leased |
| `runner` | runs one camera: connects again and again, and says when it goes online or offline |
| `rotation` | says which cameras have a place where more are wanted than there are places |
| `connect_queue` | says whose turn it is to be connected to |
| `connection` | is one connection: a thread that reads packets and cuts segments |
| `handshake` | sees that a camera answers for itself, before libav has its password |
| `source` | opens a camera or a file, `coalesced_reads` reads a live camera several packets at a time |
| `failures` | says why a camera gives no video, and what to do |
| `segmenter` | makes segments of packets, with `cutter`, `clock`, `parameters`, `recovery_points` and `muxer` |
| `delivery` | publishes one camera's segments: `outbox` keeps them, `publisher` sends them within `in_flight_limit` |
| `announcer` | publishes events of cameras that go online and offline |
| `look` | looks at a camera once, for who is about to add it |
| `usage` | counts what each camera has sent, minute by minute |
"""
