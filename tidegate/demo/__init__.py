"""The demo: RTSP cameras, a surge, autoscaled workers, and a report."""
