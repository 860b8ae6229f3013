"""analytics as a service: what it says of detections, whoever says it, and whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import msgspec
from nats.aio.client import Client

import services.analytics.__main__ as analytics
from services.analytics import rules
from services.analytics.settings import AnalyticsSettings
from shared import events, names
from shared.events import Alert, Counts, Event, Incident, Tracks
from shared.telemetry import Health
from tests.service import serving
from tests.walks import Walk, detections, publish
from tidegate.server import NatsServer

KINDS: dict[str, type[Event]] = {k.kind: k for k in (Tracks, Incident, Alert, Counts)}
RULES: dict[str, Any] = {
    "zones": {"door": {"polygon": [[0.4, 0.3], [0.6, 0.3], [0.6, 0.95], [0.4, 0.95]]}},
    "lines": {"gate": {"from": [0.5, 0.95], "to": [0.5, 0.3]}},
    "rules": [
        {"id": "cross", "kind": "crossing", "line": "gate"},
        {"id": "in", "kind": "enter", "zone": "door"},
    ],
}
ACROSS = Walk(1, 9, (0.1, 0.7), (0.9, 0.7))


@contextlib.asynccontextmanager
async def running(server: NatsServer, **settings: Any) -> AsyncIterator[Health]:
    given = {"analytics_reorder_s": 2.0, "analytics_checkpoint_s": 1.0, "analytics_partitions": 4, **settings}
    async with serving(server, "analytics", analytics.run, AnalyticsSettings(**given)) as health:
        yield health


async def use(client: Client, camera: str, value: dict[str, Any]) -> None:
    bucket = await client.jetstream().key_value(names.RULES)
    await bucket.put(camera, rules.encode(msgspec.convert(value, rules.Rules)))


async def said(client: Client) -> list[tuple[str, Event]]:
    """(ce-id, event) of all that analytics said, in the order of EVENTS; each keeps to its schema."""
    js = client.jetstream()
    found = []
    for seq in range(1, (await js.stream_info("EVENTS")).state.last_seq + 1):
        raw = await js.get_msg("EVENTS", seq, direct=True)
        kind = KINDS.get((raw.subject or "").split(".")[1])
        if kind:
            jsonschema.validate(json.loads(raw.data or b""), events.json_schema())
            found.append(((raw.headers or {})["ce-id"], msgspec.json.decode(raw.data or b"", type=kind)))
    return found


async def until(client: Client, true: Any, timeout_s: float = 30.0) -> list[Event]:
    """What was said, once `true` of it."""
    async with asyncio.timeout(timeout_s):
        while not true(found := [event for _, event in await said(client)]):
            await asyncio.sleep(0.1)
    return found


def ended(found: list[Event]) -> bool:
    return any(isinstance(e, Incident) and e.state == "end" and e.rule == "cross" for e in found)


async def test_a_person_who_crosses_a_line_is_a_track_and_an_incident(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    async with running(server):
        await publish(admin, detections([ACROSS], 14))
        found = await until(admin, ended)
    tracks = [t for e in found if isinstance(e, Tracks) for t in e.tracks]
    assert len({t.id for t in tracks}) == 1
    assert tracks[0].state == "new"
    assert {t.label for t in tracks} == {"person"}
    begun = [e for e in found if type(e) is Incident and e.state == "start"]
    assert sorted((e.rule, e.direction) for e in begun) == [("cross", "in"), ("in", None)]
