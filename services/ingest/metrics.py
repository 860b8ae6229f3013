"""What ingest counts. Rates are left to whoever reads the counters."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

SEGMENTS = Counter("tidegate_ingest_segments_total", "Segments that JetStream acknowledged.", ["camera"])
BYTES = Counter("tidegate_ingest_bytes_total", "Bytes of acknowledged segments.", ["camera"])
FRAMES = Counter("tidegate_ingest_frames_total", "Frames in acknowledged segments.", ["camera"])
DROPPED = Counter(
    "tidegate_ingest_dropped_segments_total", "Segments that were cut and never stored.", ["camera", "cause"]
)
DROPPED_FRAMES = Counter(
    "tidegate_ingest_dropped_frames_total", "Frames that never became part of a segment.", ["camera", "cause"]
)
RECONNECTS = Counter(
    "tidegate_ingest_reconnects_total", "Connections to cameras that ended or failed.", ["camera", "cause"]
)
REANCHORS = Counter("tidegate_ingest_reanchors_total", "Corrections of a camera's clock against ours.", ["camera"])
PUBLISH = Histogram(
    "tidegate_ingest_publish_seconds",
    "From a segment's cut to its acknowledgement, waiting included.",
    buckets=LATENCY_BUCKETS,
)
PUBLISH_ERRORS = Counter("tidegate_ingest_publish_errors_total", "Tries that JetStream did not acknowledge.", ["cause"])
WAITING = Gauge(
    "tidegate_ingest_waiting_seconds", "How long the segment that has waited longest waits to be stored; 0 without one."
)
ONLINE = Gauge("tidegate_ingest_cameras_online", "Cameras of this process that deliver video.")
UNREAD = Gauge("tidegate_ingest_cameras_waiting", "Cameras that no process has room for, as this one sees it.")
OWNED = Gauge("tidegate_ingest_cameras_owned", "Cameras whose lease this process holds.")
