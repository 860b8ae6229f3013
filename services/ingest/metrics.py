"""What ingest counts. Readers of the counters compute rates.

The label `stream` is the subject's first word: `media` for analysed video, `main` for the main stream of a camera
with a substream. If a camera was removed, or another process has it, its series are dropped some minutes later.
"""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

SEGMENTS = Counter("tidegate_ingest_segments_total", "Segments that JetStream acknowledged.", ["camera", "stream"])
BYTES = Counter("tidegate_ingest_bytes_total", "Bytes of acknowledged segments.", ["camera", "stream"])
FRAMES = Counter("tidegate_ingest_frames_total", "Frames in acknowledged segments.", ["camera", "stream"])
DROPPED = Counter(
    "tidegate_ingest_dropped_segments_total", "Segments that were cut and never stored.", ["camera", "stream", "cause"]
)
DROPPED_FRAMES = Counter(
    "tidegate_ingest_dropped_frames_total", "Frames that never became part of a segment.", ["camera", "stream", "cause"]
)
RECONNECTS = Counter(
    "tidegate_ingest_reconnects_total", "Connections to cameras that ended or failed.", ["camera", "stream", "cause"]
)
REANCHORS = Counter(
    "tidegate_ingest_reanchors_total", "Corrections of a camera's clock against ours.", ["camera", "stream"]
)
PUBLISH = Histogram(
    "tidegate_ingest_publish_seconds",
    "From a segment's cut to its acknowledgement, waiting included.",
    buckets=LATENCY_BUCKETS,
)
PUBLISH_ERRORS = Counter("tidegate_ingest_publish_errors_total", "Tries that JetStream did not acknowledge.", ["cause"])
WAITING = Gauge(
    "tidegate_ingest_waiting_seconds", "How long the segment that has waited longest waits to be stored; 0 without one."
)
ONLINE = Gauge("tidegate_ingest_cameras_online", "Cameras of this process that deliver video for analysis.")
MAIN_OFFLINE = Gauge(
    "tidegate_ingest_main_streams_offline",
    "1 for a camera with a substream whose main stream delivers no video: recordings miss it.",
    ["camera"],
)
UNREAD = Gauge("tidegate_ingest_cameras_waiting", "Cameras that no process has room for, as this one sees it.")
OWNED = Gauge("tidegate_ingest_cameras_owned", "Cameras whose lease this process holds.")

_OF_CAMERAS = (SEGMENTS, BYTES, FRAMES, DROPPED, DROPPED_FRAMES, RECONNECTS, REANCHORS, MAIN_OFFLINE)
# By then the last counts, such as segments dropped at the end, have been scraped.
RETENTION_S = 300.0
_TIDY_S = 60.0
_removed_at: dict[str, float] = {}  # since when, in monotonic seconds


def keep_series(camera: str) -> None:
    """Keep its series."""
    _removed_at.pop(camera, None)


def expire_series(camera: str) -> None:
    """Drop its series later, unless it comes back within `RETENTION_S`."""
    _removed_at[camera] = time.monotonic()


async def tidy() -> None:
    """Drop expired series, until cancelled."""
    while True:
        forget(time.monotonic())
        await asyncio.sleep(_TIDY_S)


def forget(now: float) -> None:
    """Drop expired series. One pass finds all, as hundreds of cameras may move together."""
    expired = {camera for camera, since in _removed_at.items() if now - since >= RETENTION_S}
    for counter in _OF_CAMERAS if expired else ():
        for family in counter.collect():
            for labels in {tuple(s.labels.values()) for s in family.samples if s.labels["camera"] in expired}:
                counter.remove(*labels)
    for camera in expired:
        del _removed_at[camera]
