"""Publishes what cameras send, in order and across outages, and counts it.

| module | idea |
|---|---|
| `outbox` | buffers segments while JetStream is away |
| `publisher` | publishes segments until they are acknowledged, within a limit of bytes in flight |
| `camera_delivery` | publishes one camera's segments in order |
| `usage` | counts what each camera has sent, minute by minute |
"""
