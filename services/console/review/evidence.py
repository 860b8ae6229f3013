"""The time around an incident: paths of its objects, and parts whose analysis was deferred."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Literal, TypeVar

import msgspec

from services.console.links.log_walk import walk
from services.console.web.alike import alike
from shared.bus.client import Connection
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.client import tracks
from shared.client.tracks import Followed, Stretch
from shared.contract import names
from shared.contract.events import Detections, DetectionsRevision, Incident, Lost, OfSegment, decode
from shared.runtime.errors import BadMessage

# Seconds shown before and after an incident, and at most in total.
AROUND_S = 5.0
LONGEST_S = 180.0
# Detections that are read for it at most, and their revisions by a second pass, which come at any later time.
_MOST_READ = 1000
_MOST_REVISIONS = 2000

E = TypeVar("E", bound=OfSegment)


class Deferred(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the time that was analysed at a lower frame rate. fps: the actual rate. wanted: the wanted rate.

    outcome: whether the rest was backfilled. lost: why it never will be.
    """

    since: dt.datetime
    until: dt.datetime
    fps: float
    wanted: float
    cause: str
    outcome: Literal["waiting", "done", "lost"]
    lost: Lost | None = None


def stretch(incident: Incident) -> Stretch:
    """Return the time that shows an incident."""
    around = dt.timedelta(seconds=AROUND_S)
    since = min(incident.start, incident.snapshot.time) - around
    end = max(incident.end or incident.time, incident.snapshot.time) + around
    return Stretch(incident.camera, since, max(since + around, min(end, since + dt.timedelta(seconds=LONGEST_S))))


async def paths(client: Connection, incident: Incident) -> list[Followed]:
    """Return the paths of its objects in that time. Raises nats.errors.Error or TimeoutError."""
    ids = {o.id for o in incident.objects}
    return [f for f in await tracks.read(client, stretch(incident)) if f.last.id in ids] if ids else []


async def deferred(client: Connection, when: Stretch) -> list[Deferred]:
    """Return the deferred parts of that time, oldest first. Raises nats.errors.Error or TimeoutError."""
    found: dict[str, Detections] = {}
    first = 0
    async with Log(client, names.EVENTS) as log:
        async for stored, event in _read(log, Detections, when.camera, when.since, most=_MOST_READ):
            if event.start > when.until:
                break
            if event.quality and event.start + dt.timedelta(seconds=event.duration) > when.since:
                found[stored.headers.get("ce-id", "")] = event
                first = first or stored.seq
        revised: dict[str, Lost | None] = {}
        if found:
            async for _, revision in _read(log, DetectionsRevision, when.camera, first, most=_MOST_REVISIONS):
                if revision.revises in found:
                    revised[revision.revises] = revision.lost
                    if len(revised) == len(found):
                        break
    return _merged([_one(event, id in revised, revised.get(id)) for id, event in found.items()])


async def _read(
    log: Log, kind: type[E], camera: str, begin: dt.datetime | int, *, most: int
) -> AsyncIterator[tuple[Stored, E]]:
    """Yield a camera's events in stored order, from a time or a sequence on; `most` are read."""
    subject, read = names.event(kind.kind, camera), 0
    async for stored in walk(log, subject, begin):
        if (read := read + 1) > most:
            return
        with contextlib.suppress(BadMessage):  # not from a service
            yield stored, decode(stored.data, kind, subject)


def _one(event: Detections, revised: bool, lost: Lost | None) -> Deferred:
    assert event.quality
    until = event.start + dt.timedelta(seconds=event.duration)
    outcome = "lost" if lost else "done" if revised else "waiting"
    return alike(Deferred, event.quality, since=event.start, until=until, outcome=outcome, lost=lost)


def _merged(parts: list[Deferred]) -> list[Deferred]:
    """Merge adjacent parts that are alike."""
    out: list[Deferred] = []
    for part in sorted(parts, key=lambda p: p.since):
        last = out[-1] if out else None
        if last and part.since - last.until < dt.timedelta(seconds=1) and _same(last, part):
            out[-1] = msgspec.structs.replace(last, until=part.until)
        else:
            out.append(part)
    return out


def _same(a: Deferred, b: Deferred) -> bool:
    return (a.fps, a.wanted, a.cause, a.outcome, a.lost) == (b.fps, b.wanted, b.cause, b.outcome, b.lost)
