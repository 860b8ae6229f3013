"""The second pass in the service: over a real EVENTS, killed and restarted, and shared by replicas."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError

from services.analytics.limits import Limits
from shared.bus.direct import Stored
from shared.bus.leasing.partitions import partition_of
from shared.bus.log import Log
from shared.contract import events, names, rules
from shared.contract.events import Alert, Counts, Detections, Incident
from tests.support.video.walking_people import Walk, detections
from tests.support.waiting import patience_s
from tests.support.worlds.analytics_world import RULES, forget_soon, process, running, stored_events, until, use
from tests.support.worlds.second_pass import Memory, Outcome, Replica, first_id, less, revision, settled_bytes
from tidegate.local.server import NatsServer

ALERTING: dict[str, Any] = {**RULES, "rules": [rule | {"alert": "start"} for rule in RULES["rules"]]}
CAMERAS = [f"cam-{n}" for n in range(4)]
RUNNERS = [Walk(n + 0.1, n + 1.6, (0.35, 0.7), (0.65, 0.7)) for n in (4, 22)]
REORDER_S = 12.0


def scene(camera: str) -> list[Detections]:
    """Half a minute, over the end of a minute: two people run through, and one walks."""
    return detections([*RUNNERS, Walk(2, 20, (0.9, 0.9), (0.1, 0.9))], 70, camera=camera)


async def say(client: Client, event: events.Event, id: str) -> None:
    headers = events.headers(event, id=id, source="test")
    await client.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


async def say_one_before_its_first(client: Client, event: Detections) -> None:
    """As after the death of a worker between the two, when another publishes the event."""
    await say(client, revision(event), f"{first_id(event)}/full")
    await say_first(client, event)


async def say_first(client: Client, event: Detections) -> None:
    """As cv in a surge: a frame a second of the first half."""
    await say(client, less(event, 1) if event.segment.n < 40 else event, first_id(event))


async def revise(client: Client, found: Sequence[Detections]) -> None:
    for event in found:
        if event.segment.n < 40:
            lost = "expired" if event.segment.n % 7 == 6 else None
            await say(client, revision(event, lost), f"{first_id(event)}/full")


async def stored(client: Client, subject: str) -> list[Stored]:
    async with Log(client, names.EVENTS) as log:
        return await log.all(subject)


async def second_pass_outcome(client: Client, book: dict[str, Any]) -> dict[str, bytes]:
    """Compute in this process what the second passes publish about everything in EVENTS."""
    read = [
        s for subject in ("events.detections.*", "events.revisions.detections.*") for s in await stored(client, subject)
    ]
    log = Memory([])
    log.all = sorted(read, key=lambda s: s.seq)
    log.end = len(log.all)
    replica = Replica(log, msgspec.convert(book, rules.Rules), Limits(reorder_s=REORDER_S))
    replica.live()
    replica.partition.position = log.all[-1].seq + 1
    outcome = Outcome()
    outcome.add(await replica.settling(log.all[-1].time.timestamp()))
    return settled_bytes(outcome)


async def settled(client: Client) -> dict[str, bytes]:
    """Return the events of the second passes; each is there once."""
    found = [(id, events.encode(event)) for id, event in await stored_events(client) if id.startswith("settled/")]
    assert len(dict(found)) == len(found)
    return dict(found)


async def until_settled(client: Client, book: dict[str, Any]) -> dict[str, bytes]:
    expected = await second_pass_outcome(client, book)
    async with asyncio.timeout(patience_s()):
        while (found := await settled(client)).keys() < expected.keys():
            await asyncio.sleep(0.2)
    await asyncio.sleep(1)  # clock: a surplus event has no later marker
    assert await settled(client) == expected == found
    return expected


async def in_bucket(client: Client, camera: str, partitions: int = 4) -> bytes | None:
    bucket = await client.jetstream().key_value(names.ANALYTICS)
    try:
        return (await bucket.get(f"settled.{partition_of(camera, partitions)}.{camera}")).value
    except KeyNotFoundError:
        return None


@pytest.mark.slow
@pytest.mark.long
async def test_a_killed_second_pass_publishes_the_same_once(server: NatsServer, admin: Client) -> None:
    await forget_soon(admin)
    by_camera = {camera: scene(camera) for camera in CAMERAS}
    for camera in CAMERAS:
        await use(admin, camera, ALERTING)
    # The last has all of its frames.
    whole = CAMERAS[-1]
    with process(server) as first:
        for n in range(70):
            for camera, found in by_camera.items():
                if camera == whole:
                    await say(admin, found[n], first_id(found[n]))
                elif n == 4:
                    await say_one_before_its_first(admin, found[n])
                else:
                    await say_first(admin, found[n])
        await until(admin, lambda f: {e.camera for e in f if isinstance(e, Counts)} == set(CAMERAS))
        for camera in CAMERAS[:-1]:
            await revise(admin, by_camera[camera][:25])
        async with asyncio.timeout(patience_s()):
            while not await settled(admin):
                await asyncio.sleep(0.05)
        first.send_signal(signal.SIGKILL)
    for camera in CAMERAS[:-1]:
        await revise(admin, by_camera[camera][25:33])
    with process(server) as second, process(server):
        await asyncio.sleep(3)
        second.send_signal(signal.SIGKILL)
        for camera in CAMERAS[:-1]:
            await revise(admin, list(reversed(by_camera[camera][33:])))
        found = await until_settled(admin, ALERTING)
        assert not [id for id in found if f"/{whole}/" in id] and await in_bucket(admin, whole) is None
    by_id = dict(await stored_events(admin))
    late = [e for id, e in by_id.items() if id in found and type(e) is Incident and e.late and e.state == "start"]
    alerts = [e for id, e in by_id.items() if id in found and isinstance(e, Alert)]
    assert {i.camera for i in late} == set(CAMERAS[:-1]) == {a.camera for a in alerts}
    assert {a.incident for a in alerts} == {i.incident for i in late} and all(a.late for a in alerts)
    live = {id for id, e in by_id.items() if isinstance(e, Counts) and id not in found}
    assert {e.revises for id, e in by_id.items() if id in found and isinstance(e, Counts)} <= live


@pytest.mark.slow
async def test_a_finished_pass_leaves_no_state(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.analytics.second_pass import reading, state

    monkeypatch.setattr(state, "TAIL_S", 4.0)
    monkeypatch.setattr(reading, "SLACK_S", 0.5)
    await use(admin, "lobby", RULES)
    found = scene("lobby")[:20]
    async with running(server, analytics_reorder_s=0.5):
        for event in found:
            await say_first(admin, event)
        await revise(admin, found)
        both = await until(admin, lambda f: [e for e in f if isinstance(e, Incident) and e.late])
        async with asyncio.timeout(patience_s()):
            while not await in_bucket(admin, "lobby"):
                await asyncio.sleep(0.1)
            while await in_bucket(admin, "lobby"):
                await asyncio.sleep(0.1)
    begun, *_ = [e for _, e in both if isinstance(e, Incident) and e.late]
    assert (begun.rule, begun.state) == ("cross", "start")
