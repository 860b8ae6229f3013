"""Events of a camera by their ids, and changes of a scene."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from services.analytics.camera.statements import Outs
from shared.contract import events
from shared.contract.events import Alert, Counts, DetectedObject, Detections, Incident, Tracks
from shared.contract.rules import Rules
from shared.contract.work import jobs
from tests.support.video.walking_people import Walk, detections
from tests.support.worlds.analytics_partition import (
    BEGIN,
    Arrival,
    in_time,
    tracks,
)

NONE = Rules()
KINDS = {k.kind: k for k in (Tracks, Incident, Alert, Counts)}


def encoded_by_id(outs: Outs) -> dict[str, bytes]:
    """The encoded events by id: no id has two different events."""
    found: dict[str, bytes] = {}
    for out in outs:
        data = jobs.encode(out.what) if isinstance(out.what, jobs.Job) else events.encode(out.what)
        assert found.setdefault(out.id, data) == data, out.id
    return found


def once(outs: Outs) -> dict[str, bytes]:
    found = encoded_by_id(outs)
    assert len(found) == len(outs)
    return found


def ids(outs: Outs, state: str = "new") -> list[str]:
    return [t.id for t in tracks(outs) if t.state == state]


def with_objects(event: Detections, objects: Sequence[DetectedObject]) -> Detections:
    frames = [msgspec.structs.replace(f, objects=[*f.objects, *objects]) for f in event.frames]
    return msgspec.structs.replace(event, frames=frames)


def blinded(event: Detections) -> Detections:
    frames = [msgspec.structs.replace(f, objects=[]) for f in event.frames]
    return msgspec.structs.replace(event, frames=frames)


def set_back(seconds: float) -> list[Arrival]:
    """Ten seconds of a standing person, and twelve more after the camera's clock was set back."""
    walk = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    leaves = Walk(0, 8, (0.5, 0.8), (0.5, 0.8))
    before = in_time(detections([walk], 10, start=BEGIN))
    after = detections([leaves], 12, start=BEGIN + dt.timedelta(seconds=10 - seconds), first=10, seq=11)
    return [*before, *(Arrival(11.0 + n, e) for n, e in enumerate(after))]
