"""A flood of one service's events evicts older ones from EVENTS: alerts and incidents remain."""

from __future__ import annotations

import asyncio
import datetime as dt
import os

import pytest
from nats.aio.client import Client

from shared import bus
from shared.client import copying
from shared.contract import names, topology
from shared.contract.memory import MB
from shared.contract.topology import TopologySettings
from shared.recordings.policy import EffectivePolicy
from tests.support.console.people import console_on
from tests.support.console.review import until_listed
from tests.support.waiting import patience_s
from tests.support.worlds.incidents import incident, say
from tests.support.worlds.keeper import AT, MINUTE, SETTLED, House, house
from tidegate.commands import doctor
from tidegate.local.server import NatsServer

__all__ = ["house"]


async def copied(admin: Client, count: int) -> None:
    """Wait until the server has copied `count` events: it begins some 100 ms after its start."""
    async with asyncio.timeout(4 * patience_s()):
        while (await admin.jetstream().stream_info(names.ALERTS)).state.messages < count:
            await asyncio.sleep(0.02)


async def flood(server: NatsServer, admin: Client) -> None:
    """Publish, as cv, twice the capacity of EVENTS."""
    js = admin.jetstream()
    await topology.apply(js, TopologySettings(events_max_bytes=MB))
    cv = await bus.connect(server.settings("cv"), "cv")
    for n in range(40):
        await cv.jetstream().publish(f"events.detections.invented-{n}", os.urandom(50_000))
    await cv.close()
    found = (await js.stream_info(names.EVENTS, subjects_filter=">")).state.subjects or {}
    assert found and all(subject.startswith("events.detections.") for subject in found), "nothing else is left there"


async def test_review_shows_an_incident_after_a_flood(server: NatsServer, admin: Client) -> None:
    await say(admin, incident("crowd.1"))
    await copied(admin, 1)
    await flood(server, admin)
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        assert [card["incident"] for card in await until_listed(anna, 1)] == ["crowd.1"]


async def test_video_of_an_incident_is_recorded_after_a_flood(house: House, server: NatsServer, admin: Client) -> None:
    then = AT + 4.5 * MINUTE
    await house.record(AT, range(6))
    await say(admin, incident("a", "cam", start=then, state="end", end=then, time=then))
    await copied(admin, 1)
    await flood(server, admin)
    await house.keep(EffectivePolicy(record="incidents", before_s=0, after_s=0), SETTLED)
    assert await house.minutes(AT) == [4]


@pytest.mark.parametrize("who", ["cv", "analytics", "console-admin"])
async def test_no_service_empties_the_copy(server: NatsServer, admin: Client, who: str) -> None:
    await say(admin, incident())
    await copied(admin, 1)
    client = await bus.connect(server.settings(who), who)
    for call in ("STREAM.PURGE", "STREAM.DELETE", "STREAM.MSG.DELETE", "STREAM.UPDATE"):
        for prefix in ("$JS.API", names.IMPORTED_API):
            await client.publish(f"{prefix}.{call}.{names.ALERTS}", b'{"seq": 1}', reply=client.new_inbox())
    await client.publish("$JS.S.forged", b"not an alert")
    await client.flush()
    await client.close()
    assert (await admin.jetstream().stream_info(names.ALERTS)).state.messages == 1


async def test_doctor_names_the_message_that_the_copy_stops_at(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server adds a header to copies, and fails if the others take 64 kB already."""
    monkeypatch.setattr(copying, "LATE", dt.timedelta(0))
    js = admin.jetstream()
    await say(admin, incident("a"))
    await copied(admin, 1)
    assert await copying.stuck_at(admin, dt.datetime.now(dt.UTC)) is None
    analytics = await bus.connect(server.settings("analytics"), "analytics")
    stops = await analytics.jetstream().publish("events.alerts.lobby", b"{}", headers={"X": "y" * 65_430})
    await analytics.close()
    await say(admin, incident("b"))
    now = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    found = await copying.stuck_at(admin, now)
    assert found and found.seq == stops.seq
    (finding,) = [f for f in await doctor._copying(admin) if f.level == "bad"]
    assert f"sequence {stops.seq} of EVENTS" in finding.found and f"rmm EVENTS {stops.seq}" in finding.remedy
    await js.delete_msg(names.EVENTS, stops.seq)
    await copied(admin, 2)
    assert await copying.stuck_at(admin, now) is None


@pytest.mark.slow
async def test_a_recreated_stream_is_copied_on(admin: Client) -> None:
    js = admin.jetstream()
    await say(admin, incident("a"))
    await copied(admin, 1)
    await js.delete_stream(names.EVENTS)
    await topology.apply(js, TopologySettings())
    await say(admin, incident("b"))
    await copied(admin, 2)


async def test_an_older_store_has_its_incidents_copied(admin: Client) -> None:
    js = admin.jetstream()
    await js.delete_stream(names.ALERTS)
    await say(admin, incident("a"), incident("a", state="end"), incident("b"))
    assert await topology.apply(js, TopologySettings()) == ["stream ALERTS created"]
    await copied(admin, 3)
    assert await topology.apply(js, TopologySettings()) == []
