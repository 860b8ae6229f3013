"""Publishes what cameras send: segments, in order and across outages, events and usage.

| module | idea |
|---|---|
| `outbox` | buffers segments while JetStream is away |
| `publisher` | publishes segments until they are acknowledged, within a limit of bytes in flight |
| `camera_delivery` | publishes one camera's segments in order |
| `announcer` | publishes events of cameras that go online and offline |
| `usage` | counts what each camera has sent, minute by minute |
"""
