"""Analytics in a test: the service, its rules, its events, and a fault. Import fixtures by name."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

import services.analytics.app as analytics
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.settings import AnalyticsSettings
from services.analytics.tracking.tracker import Tracker
from shared.bus.log import Log
from shared.contract import events, names, rules
from shared.contract.events import Alert, Counts, Detections, Event, Incident, Seen, Timing, Tracks, Usage, Verdict
from shared.runtime.telemetry import Health
from tests.support import schemas
from tests.support.processes.service import serving
from tests.support.video.walking_people import Walk
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

KINDS: dict[str, type[Event]] = {k.kind: k for k in (Tracks, Incident, Alert, Counts)}
REORDER_S = 2.0
RULES: dict[str, Any] = {
    "zones": {"door": {"polygon": [[0.4, 0.3], [0.6, 0.3], [0.6, 0.95], [0.4, 0.95]]}},
    "lines": {"gate": {"from": [0.5, 0.95], "to": [0.5, 0.3]}},
    "rules": [
        {"id": "cross", "kind": "crossing", "line": "gate"},
        {"id": "in", "kind": "enter", "zone": "door"},
    ],
}
ASKING: dict[str, Any] = {
    "zones": RULES["zones"],
    "rules": [{"id": "in", "kind": "enter", "zone": "door", "verify": "Is a person at the door?"}],
}
ACROSS = Walk(1, 9, (0.1, 0.7), (0.9, 0.7))
BACK = Walk(4, 13, (0.9, 0.9), (0.1, 0.9))
CAMERAS = [f"cam-{n}" for n in range(6)]
# The shortest practical window; the contract has 15 minutes.
WINDOW_S = 1.0


@pytest.fixture
def stumble(monkeypatch: pytest.MonkeyPatch) -> Callable[[dt.datetime], None]:
    """Make analytics fail at the frame of a time: the error stands for any that no test foresees."""

    def at(frame: dt.datetime) -> None:
        whole = Tracker.match

        def match(self: Tracker, time: float, *rest: Any) -> Any:
            if time == frame.timestamp():
                raise ZeroDivisionError
            return whole(self, time, *rest)

        monkeypatch.setattr(Tracker, "match", match)

    return at


async def forget_soon(client: Client) -> None:
    for stream in (names.EVENTS, names.VLM):
        config = (await client.jetstream().stream_info(stream)).config
        config.duplicate_window = WINDOW_S
        await client.jetstream().update_stream(config)


def settings(**given: Any) -> AnalyticsSettings:
    usual = {"analytics_reorder_s": REORDER_S, "analytics_checkpoint_s": 0.5, "analytics_partitions": 4}
    return AnalyticsSettings(**{**usual, **given})


@contextlib.asynccontextmanager
async def running(server: NatsServer, **given: Any) -> AsyncIterator[Health]:
    async with serving(server, "analytics", analytics.run, settings(**given)) as health:
        yield health


@contextlib.contextmanager
def process(server: NatsServer, **given: str) -> Iterator[subprocess.Popen[bytes]]:
    """A replica of its own process, killed at the end."""
    usual = {"ANALYTICS_REORDER_S": "12", "ANALYTICS_CHECKPOINT_S": "1", "ANALYTICS_PARTITIONS": "4"}
    environment = os.environ | server.environment("analytics") | usual | given
    child = subprocess.Popen([sys.executable, "-m", "services.analytics"], env=environment)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def use(client: Client, camera: str, value: dict[str, Any]) -> None:
    bucket = await client.jetstream().key_value(names.RULES)
    await bucket.put(camera, rules.encode(msgspec.convert(value, rules.Rules)))


async def stored_events(client: Client) -> list[tuple[str, Event]]:
    """(ce-id, event) of all that analytics published, in the order of EVENTS; each matches its schema."""
    found = []
    async with Log(client, names.EVENTS) as log:
        seq = 1
        while part := await log.read("events.*.*", seq):
            seq = part[-1].seq + 1
            for stored in part:
                if kind := KINDS.get(stored.subject.split(".")[1]):
                    schemas.of_events().validate(json.loads(stored.data))
                    found.append((stored.headers["ce-id"], msgspec.json.decode(stored.data, type=kind)))
    return found


async def until(client: Client, true: Any) -> list[tuple[str, Event]]:
    """Wait until `true` holds of the published events, and return them."""
    async with asyncio.timeout(patience_s()):
        while not true([event for _, event in found]) if (found := await stored_events(client)) else True:
            await asyncio.sleep(0.1)
    return found


def incidents(found: Sequence[Event], state: str, rule: str | None = None) -> list[Incident]:
    return [e for e in found if type(e) is Incident and e.state == state and rule in (None, e.rule)]


def alone(camera: str, given: Sequence[Detections], value: dict[str, Any] = RULES) -> dict[str, bytes]:
    """Compute in this process what follows from detections in order, by id."""
    pure = CameraAnalytics(camera, Limits(reorder_s=REORDER_S), msgspec.convert(value, rules.Rules))
    outs: Outs = []
    for seq, event in enumerate(given, 1):
        outs += pure.read(seq, event, event.start.timestamp())
    return {o.id: events.encode(o.what) for o in outs if isinstance(o.what, Event)}


def verdict(incident: Incident, stored_events: Any) -> Verdict:
    return Verdict(
        camera=incident.camera,
        incident=incident.incident,
        rule=incident.rule,
        verdict=stored_events,
        confidence=0.9,
        job="j",
        start=incident.start,
        end=incident.time + dt.timedelta(seconds=1),
        model="m",
        frames=[Seen(time=incident.time, seq=1)],
        reason="one person, at the door",
        timing=Timing(queued_ms=1, decode_ms=1, infer_ms=1),
        usage=Usage(prompt_tokens=1, completion_tokens=1, first_token_ms=1),
    )
