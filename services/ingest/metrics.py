"""What ingest counts. Rates are left to whoever reads the counters.

The series of a camera that is gone, as it was removed or another process has it, go some minutes later.
"""

from __future__ import annotations

import asyncio
import time

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

_OF_CAMERAS = (SEGMENTS, BYTES, FRAMES, DROPPED, DROPPED_FRAMES, RECONNECTS, REANCHORS)
# What is counted last, such as segments that were dropped at the end, is scraped by then.
KEPT_S = 300.0
_TIDY_S = 60.0
_gone: dict[str, float] = {}  # since when, in monotonic seconds


def camera_is_here(camera: str) -> None:
    """Keep its series."""
    _gone.pop(camera, None)


def camera_is_gone(camera: str) -> None:
    """Let its series go, unless it comes back within `KEPT_S`."""
    _gone[camera] = time.monotonic()


async def tidy() -> None:
    """Let go of the series of cameras that are gone, until cancelled."""
    while True:
        forget(time.monotonic())
        await asyncio.sleep(_TIDY_S)


def forget(now: float) -> None:
    """Let go of those that are due. All are found in one pass, as hundreds of cameras may move together."""
    due = {camera for camera, since in _gone.items() if now - since >= KEPT_S}
    for counter in _OF_CAMERAS if due else ():
        for family in counter.collect():
            for labels in {tuple(s.labels.values()) for s in family.samples if s.labels["camera"] in due}:
                counter.remove(*labels)
    for camera in due:
        del _gone[camera]
