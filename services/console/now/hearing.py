"""What is heard on the bus, by whom it is about: heartbeats, stored segments, events. Times come from outside.

hearing = Hearing(time.monotonic())
hearing.beat("scale.cv.cv-0", data, now)
hearing.event("cameras", "lobby", data, now)
hearing.services["cv"].now(now, None)
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from services.console.now.services import OneService
from services.console.now.sightings import Sightings
from services.console.now.stamps import Stamps
from shared.contract import catalog, events, names, stats
from shared.contract.events import CameraStatus, Detections, Quality, VideoStatus
from shared.runtime.errors import BadMessage

# What a header says of a stored message, where the server republishes it.
_SEQUENCE, _TIME, _SIZE = "Nats-Sequence", "Nats-Time-Stamp", "Nats-Msg-Size"
# What is remembered of deployments and restarts.
MOST_CHANGES = 1000
# So many kinds of subject are remembered, which a bus without logins lets anybody make up.
_MOST_KINDS = 200
# No segment is larger than what a server takes.
_MOST_BYTES = 10**9


class Change(NamedTuple):
    """Something else runs than before. time: when it was heard."""

    time: dt.datetime
    service: str
    what: str


class _Looked(msgspec.Struct, frozen=True):
    """Of detections, what is counted here: the objects are not read."""

    frames: list[msgspec.Raw]
    quality: Quality | None = None


class _Lost(msgspec.Struct, frozen=True):
    lost: str | None = None


_LOOKED, _LOST = msgspec.json.Decoder(_Looked), msgspec.json.Decoder(_Lost)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadMessage, ValueError)


class Hearing:
    """services: every one of the catalog. changes: the newest last. video: when segments were stored."""

    def __init__(self, now: float) -> None:
        self.services = {s.name: OneService(s, now) for s in catalog.services()}
        self.sightings = Sightings(now)
        self.video = Stamps()
        self.changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._saying: dict[str, list[OneService]] = {}

    def beat(self, subject: str, data: bytes, now: float, wall: dt.datetime) -> None:
        """A heartbeat. Its subject says whose it is, whatever it says itself: that is what rights are given for."""
        _, name, replica = subject.split(".", 2)
        service = self.services.get(name)
        if service is None or not service.record.heartbeat:
            return
        with suppress(*_UNREADABLE):
            if said := service.fleet.beat(replica, stats.decode(data), now):
                self.changes.append(Change(wall, name, said))

    def segment(self, subject: str, headers: Mapping[str, str] | None, now: float) -> None:
        """A segment is stored, on `media.<camera>`."""
        headers = headers or {}
        camera = subject.rpartition(".")[2]
        with suppress(ValueError, OverflowError):
            self.sightings.stored(camera, min(max(0, int(headers.get(_SIZE, "0"))), _MOST_BYTES), now)
            self.video.heard(int(headers.get(_SEQUENCE, "")), unix(headers.get(_TIME, "")))
        ingest = self.services["ingest"]
        ingest.said.add(now)
        ingest.said_at = now

    def event(self, kind: str, camera: str, data: bytes | msgspec.Raw, now: float) -> None:
        """An event of a camera."""
        for service in self._who_says(kind):
            service.said.add(now)
            service.said_at = now
        with suppress(*_UNREADABLE):
            if kind == Detections.kind:
                looked = _LOOKED.decode(data)
                self.sightings.looked(camera, len(looked.frames), looked.quality, now)
            elif kind.startswith(names.revised("")):
                if because := _LOST.decode(data).lost:
                    self.sightings.lost(camera, because[:64], now)
            elif kind == CameraStatus.kind:
                self.sightings.said(events.decode(bytes(data), CameraStatus, names.event(kind, camera)))
            elif kind == VideoStatus.kind:
                self.sightings.said(events.decode(bytes(data), VideoStatus, names.event(kind, camera)))

    def _who_says(self, kind: str) -> list[OneService]:
        """Those that publish a kind of event and are not known by heartbeats."""
        if kind not in self._saying:
            if len(self._saying) >= _MOST_KINDS:
                self._saying.clear()
            subject = names.event(kind, "x")
            self._saying[kind] = [
                s
                for s in self.services.values()
                if not s.record.heartbeat and s.record.name != "ingest"
                if any(names.overlap(pattern, subject) for pattern in s.record.publishes)
            ]
        return self._saying[kind]


def unix(rfc3339: str) -> float:
    """Unix seconds of the server's nanoseconds, which Python does not read. Raises ValueError."""
    whole, _, fraction = rfc3339.rstrip("Z").partition(".")
    return dt.datetime.fromisoformat(f"{whole}+00:00").timestamp() + (float(f"0.{fraction}") if fraction else 0.0)
