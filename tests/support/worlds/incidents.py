"""Hand-written incidents in the format of analytics: test data for the pages that show them."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from functools import lru_cache
from typing import Any, Literal

from nats.aio.client import Client

from shared.contract import events
from shared.contract.events import Event, Incident, IncidentObject, SegmentRef, Snapshot, Timing, Usage, Verdict

_numbers = itertools.count(1)


def now() -> dt.datetime:
    """The time of the running test's first call: all its times count from then, and not from the start of the run."""
    return _began(os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0])


@lru_cache(maxsize=1)
def _began(test: str) -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def ago(seconds: float) -> dt.datetime:
    return now() - dt.timedelta(seconds=seconds)


def incident(
    name: str = "crowd.1", camera: str = "lobby", *, start: dt.datetime | None = None, **fields: Any
) -> Incident:
    """An incident that began a minute ago; `fields` override this."""
    start = start or ago(60)
    given = {
        "state": "start",
        "rule": "crowd",
        "condition": "occupancy",
        "severity": "warning",
        "time": start,
        "objects": [IncidentObject(id="e.1", label="person", score=0.9, box=(0.1, 0.2, 0.3, 0.8))],
        "segments": [SegmentRef(stream="MEDIA", seq=7, epoch="e", n=6)],
        "snapshot": Snapshot(stream="MEDIA", seq=7, time=start),
    }
    return Incident(camera=camera, incident=name, start=start, **(given | fields))


def verdict(
    text: Literal["confirmed", "rejected", "uncertain"],
    name: str = "crowd.1",
    camera: str = "lobby",
    *,
    start: dt.datetime | None = None,
    reason: str = "a bench, and nobody on it",
) -> Verdict:
    start = start or ago(60)
    return Verdict(
        camera=camera,
        job=f"verify/{camera}/{name}",
        start=start,
        end=start + dt.timedelta(seconds=5),
        model="m",
        frames=[],
        timing=Timing(queued_ms=1, decode_ms=1, infer_ms=1),
        usage=Usage(prompt_tokens=1, completion_tokens=1, first_token_ms=1),
        incident=name,
        rule="crowd",
        verdict=text,
        confidence=0.8,
        reason=reason,
    )


async def say(client: Client, *incidents: Event, ids: list[str] | None = None) -> None:
    """Publish them to EVENTS, as services do."""
    for n, event in enumerate(incidents):
        id = ids[n] if ids else f"test/{next(_numbers)}"
        await client.jetstream().publish(
            events.subject(event), events.encode(event), headers=events.headers(event, id=id, source="/test")
        )
