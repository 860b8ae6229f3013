"""The state of one camera, from its events. Pure: the caller passes times."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Literal, NamedTuple

import msgspec

from shared.client.rates import Latencies, Latest, Rate
from shared.contract.events import VIDEO_ARRIVES, CameraStatus, VideoStatus
from shared.contract.reading.bounds import Instant, Label, Seconds
from shared.contract.segment import Segment

# unusable: its entry in the bucket is invalid.
State = Literal["connecting", "online", "unreadable", "offline", "disabled", "unusable"]
_LATENCY_S = 60.0
# Segments come about once a second, and some cameras' every four seconds.
_FPS_S = 12.0


class _Object(msgspec.Struct, frozen=True):
    label: Label


class _Frame(msgspec.Struct, frozen=True):
    time: Instant
    objects: list[_Object]


class DetectionSummary(msgspec.Struct, frozen=True):
    """The shown part of detections: the boxes are not read."""

    start: Instant
    duration: Seconds
    frames: list[_Frame]


class CameraReport(NamedTuple):
    """Whether a camera delivers. reason: why not, or a notice. since: the time of that report."""

    state: State
    reason: str = ""
    since: dt.datetime | None = None


class CameraState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a camera.

    state: as in `tidegate camera list`. reason: why it does not deliver, or a notice. since: the time of that report.
    codec, width, height: of its video. fps: arriving frames a second. seen: current objects by label. latency_ms: from
    a frame to its detections, the median of the last minute. last: the end of its newest video.
    """

    id: str
    state: State
    reason: str = ""
    since: dt.datetime | None = None
    codec: str = ""
    width: int | None = None
    height: int | None = None
    fps: float = 0.0
    seen: dict[str, int] = {}
    latency_ms: int | None = None
    last: dt.datetime | None = None


class CameraStateTracker:
    """See the module. `at`: seconds of a monotonic clock; `wall`: the time of day."""

    def __init__(self) -> None:
        self._status: CameraStatus | None = None
        self._video: VideoStatus | None = None
        self._head: Segment | None = None
        self._last: dt.datetime | None = None
        self._frames = Rate(_FPS_S)
        self._latencies = Latencies(_LATENCY_S)
        self._seen = Latest()

    def add_segment(self, head: Segment, at: float) -> None:
        """Record a stored segment."""
        self._frames.add(at, head.frames)
        self._head = head
        self._extend(head.start, head.duration)

    def add_status(self, status: CameraStatus | VideoStatus) -> None:
        """Record a status; an older one changes nothing."""
        if isinstance(status, CameraStatus):
            if self._status is None or status.time >= self._status.time:
                self._status = status
        elif self._video is None or status.time >= self._video.time:
            self._video = status

    def add_detections(self, event: DetectionSummary, at: float, wall: dt.datetime) -> None:
        """Record detections that arrive now."""
        for frame in event.frames:
            self._latencies.add(at, (wall - frame.time).total_seconds())
        if event.frames:
            labels = dict(Counter(o.label for o in event.frames[-1].objects).most_common())
            self._seen.add(at, labels, start=event.start.timestamp(), duration=event.duration)
        self._extend(event.start, event.duration)

    def add_recalled(self, event: DetectionSummary) -> None:
        """Record the last detections before the start: they show where the video ends."""
        self._extend(event.start, event.duration)

    def now(self, id: str, report: CameraReport, at: float) -> CameraState:
        status, head = self._status, self._head
        latency_s = self._latencies.quantile(0.50, at)
        return CameraState(
            id=id,
            **report._asdict(),
            codec=(head.codec if head else status.codec if status else "") or "",
            width=head.width if head else status.width if status else None,
            height=head.height if head else status.height if status else None,
            fps=round(self._frames.per_second(at), 1),
            seen=self._seen.now(at) if report.state in ("online", "unreadable") else {},
            latency_ms=None if latency_s is None else round(latency_s * 1000),
            last=self._last,
        )

    def report(self, enabled: bool, wall: dt.datetime) -> CameraReport:
        if not enabled:
            return CameraReport("disabled")
        if self._status is None:
            return CameraReport("connecting", "nothing has been said of it yet: is ingest running?")
        state, reason, since = self._status.state, self._status.reason, self._status.time
        if state == "online" and self._video and self._video.lasts(wall):
            return CameraReport("unreadable", self._video.reason, self._video.since)
        return CameraReport(state, "" if reason == VIDEO_ARRIVES else reason, since)

    def _extend(self, start: dt.datetime, duration: float) -> None:
        end = start + dt.timedelta(seconds=duration)
        if self._last is None or end > self._last:
            self._last = end
