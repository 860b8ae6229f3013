"""Ingest publishes cameras' video to JetStream, compressed as it came.

It reads RTSP cameras and files, cuts them into segments at keyframes, and publishes these on `media.<camera>`. Of a
camera with a substream it reads both, and publishes the main stream on `main.<camera>`. The bucket `cameras` lists the
cameras, which may be added and removed while it runs.

| module | idea |
|---|---|
| `settings`, `metrics` | settings from the environment; exported metrics |
| `streams` | the streams of a camera, and their subjects |
| `failures` | explains why a camera gives no video, and what to do |
| `cutting` | packets to segments |
| `delivery` | segments, events and usage to JetStream |
| `camera` | one camera: opens, reads and reconnects |
| `look` | opens a camera once, before somebody adds it |
| `sharing` | decides which cameras run in this process, by leases |
| `app` | wires the parts, and starts and stops them in order |
"""
