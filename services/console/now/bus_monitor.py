"""Messages on the bus, by service and camera: heartbeats, stored segments, events. The caller passes times."""

from __future__ import annotations

import datetime as dt
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from services.console.now.camera_states import CameraStates
from services.console.now.services import OneService
from shared.contract import catalog, names
from shared.contract.events import Detections, Quality
from shared.contract.work import stats

# Headers of a stored message, when the server republishes it.
_SEQUENCE, _TIME, _SIZE = "Nats-Sequence", "Nats-Time-Stamp", "Nats-Msg-Size"
# One stamp is stored for each such interval: the resolution of an age.
EVERY_S = 0.25
# Half an hour at the busiest, 290 kB.
MOST_STAMPS = 14_400
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
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class StreamTimestamps:
    """When each sequence of a stream was stored, by what the server announces: an age is known without a fetch.

    Sequences grow; a smaller one means a recreated stream, and clears all stamps.
    """

    def __init__(self, every_s: float = EVERY_S, most: int = MOST_STAMPS) -> None:
        self._every_s = every_s
        self._most = most
        self._seqs = array("Q")
        self._times = array("d")
        self._last = 0

    def add(self, seq: int, time: float) -> None:
        """Add a stored sequence. time: Unix seconds by the server's clock."""
        if seq == self._last:
            return
        if seq < self._last:
            del self._seqs[:], self._times[:]
        self._last = seq
        if len(self._times) > 1 and time - self._times[-2] < self._every_s:
            # Keep the newest: within an interval the last one replaces the others.
            self._seqs[-1], self._times[-1] = seq, time
            return
        self._seqs.append(seq)
        self._times.append(time)
        if len(self._seqs) > self._most * 5 // 4:
            del self._seqs[: -self._most], self._times[: -self._most]

    def time(self, seq: int) -> float | None:
        """Return when the first message from `seq` on was stored, at most `every_s` too late, never too early."""
        if not self._seqs or seq < self._seqs[0] or seq > self._last:
            return None
        return self._times[bisect_left(self._seqs, seq)]


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
            elif kind.startswith(names.revised("")) and (reason := _LOSS.decode(data).lost):
                self.camera_states.add_lost(camera, reason[:64], now)

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
