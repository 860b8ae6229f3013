"""analytics without cameras waits for the next event, and polls where no notification comes."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client

from services.analytics import idle as idles
from services.analytics.idle import Idle
from shared import bus
from shared.contract import names
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

FOR_EVER_S = 3600.0


@pytest.mark.parametrize("kind", ["detections", "verdicts"])
async def test_a_stored_event_ends_the_rest(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(idles, "REST_S", FOR_EVER_S)
    client = await bus.connect(server.settings("analytics"), "analytics")
    idle = Idle(client, asyncio.Event())
    for _ in range(2):
        await idle.wait(may_rest=True)
        resting = asyncio.create_task(idle.wait(may_rest=True))
        await client.flush()
        await admin.jetstream().publish(names.event(kind, "lobby"), b"{}")
        await asyncio.wait_for(resting, patience_s())
    await client.close()


async def test_a_change_of_a_bucket_ends_the_rest(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idles, "REST_S", FOR_EVER_S)
    changed = asyncio.Event()
    idle = Idle(admin, changed)
    await idle.wait(may_rest=True)
    changed.set()
    await asyncio.wait_for(idle.wait(may_rest=True), patience_s())


async def test_nothing_rests_on_notifications_that_do_not_come(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server whose accounts an earlier version wrote."""
    monkeypatch.setattr(idles, "REPUBLISHED", ["nowhere"])
    monkeypatch.setattr(idles, "REST_S", 0.01)
    idle = Idle(admin, asyncio.Event())
    await idle.wait(may_rest=True)
    await idle.wait(may_rest=True)
    idle.record_read()
    monkeypatch.setattr(idles, "REST_S", FOR_EVER_S)
    for _ in range(3):
        await asyncio.wait_for(idle.wait(may_rest=True), patience_s())
