"""Object detection: segments in, `events.detections.<camera>` out. See `__main__` for how it is put together."""
