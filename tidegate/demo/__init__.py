"""The demo: RTSP cameras, a surge, autoscaled workers, and a report; and the chaos test of `tidegate chaos`."""
