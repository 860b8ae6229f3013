"""Messages on the bus, by service and camera: heartbeats, stored segments, events. The caller passes times.

bus = BusMonitor(time.monotonic())
bus.beat("scale.cv.cv-0", data, now)
bus.event("cameras", "lobby", data, now)
bus.services["cv"].now(now, None)
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from services.console.now.camera_states import CameraStates
from services.console.now.services import OneService
from services.console.now.timestamps import StreamTimestamps
from shared.contract import catalog, events, names, stats
from shared.contract.events import CameraStatus, Detections, Quality, VideoStatus
from shared.runtime.errors import BadMessage

# Headers of a stored message, when the server republishes it.
_SEQUENCE, _TIME, _SIZE = "Nats-Sequence", "Nats-Time-Stamp", "Nats-Msg-Size"
# Stored deployments and restarts.
MOST_CHANGES = 1000
# Bound the cached kinds of subject: on a bus without logins anybody can invent them.
_MOST_KINDS = 200
# A server accepts no larger segment.
_MOST_BYTES = 10**9


class Change(NamedTuple):
    """A deployment or restart. time: when the console received it."""

    time: dt.datetime
    service: str
    what: str


class _DetectionCounts(msgspec.Struct, frozen=True):
    """The counted part of detections: the objects are not read."""

    frames: list[msgspec.Raw]
    quality: Quality | None = None


class _Loss(msgspec.Struct, frozen=True):
    lost: str | None = None


_DETECTION_COUNTS, _LOSS = msgspec.json.Decoder(_DetectionCounts), msgspec.json.Decoder(_Loss)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadMessage, ValueError)


class BusMonitor:
    """services: all in the catalog. changes: the newest last. video: when segments were stored."""

    def __init__(self, now: float) -> None:
        self.services = {s.name: OneService(s, now) for s in catalog.services()}
        self.camera_states = CameraStates(now)
        self.video = StreamTimestamps()
        self.changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._publishers: dict[str, list[OneService]] = {}

    def beat(self, subject: str, data: bytes, now: float, wall: dt.datetime) -> None:
        """Record a heartbeat. The subject names the replica, whatever the payload says: rights apply to subjects."""
        _, name, replica = subject.split(".", 2)
        service = self.services.get(name)
        if service is None or not service.record.heartbeat:
            return
        with suppress(*_UNREADABLE):
            if change := service.fleet.beat(replica, stats.decode(data), now):
                self.changes.append(Change(wall, name, change))

    def segment(self, subject: str, headers: Mapping[str, str] | None, now: float) -> None:
        """Record a segment that was stored on `media.<camera>`."""
        headers = headers or {}
        camera = subject.rpartition(".")[2]
        with suppress(ValueError, OverflowError):
            self.camera_states.add_segment(camera, min(max(0, int(headers.get(_SIZE, "0"))), _MOST_BYTES), now)
            self.video.add(int(headers.get(_SEQUENCE, "")), unix(headers.get(_TIME, "")))
        ingest = self.services["ingest"]
        ingest.published.add(now)
        ingest.published_at = now

    def event(self, kind: str, camera: str, data: bytes | msgspec.Raw, now: float) -> None:
        """Record an event of a camera."""
        for service in self._publishers_of(kind):
            service.published.add(now)
            service.published_at = now
        with suppress(*_UNREADABLE):
            if kind == Detections.kind:
                counts = _DETECTION_COUNTS.decode(data)
                self.camera_states.add_detections(camera, len(counts.frames), counts.quality, now)
            elif kind.startswith(names.revised("")):
                if reason := _LOSS.decode(data).lost:
                    self.camera_states.add_lost(camera, reason[:64], now)
            elif kind == CameraStatus.kind:
                self.camera_states.add_status(events.decode(bytes(data), CameraStatus, names.event(kind, camera)))
            elif kind == VideoStatus.kind:
                self.camera_states.add_status(events.decode(bytes(data), VideoStatus, names.event(kind, camera)))

    def _publishers_of(self, kind: str) -> list[OneService]:
        """Return the services that publish a kind of event and send no heartbeats."""
        if kind not in self._publishers:
            if len(self._publishers) >= _MOST_KINDS:
                self._publishers.clear()
            subject = names.event(kind, "x")
            self._publishers[kind] = [
                s
                for s in self.services.values()
                if not s.record.heartbeat and s.record.name != "ingest"
                if any(names.overlap(pattern, subject) for pattern in s.record.publishes)
            ]
        return self._publishers[kind]


def unix(rfc3339: str) -> float:
    """Parse the server's time into Unix seconds: Python does not parse nanoseconds. Raises ValueError."""
    whole, _, fraction = rfc3339.rstrip("Z").partition(".")
    return dt.datetime.fromisoformat(f"{whole}+00:00").timestamp() + (float(f"0.{fraction}") if fraction else 0.0)
