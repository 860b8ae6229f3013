"""Ids of events are no secret: an event of another kind with an alert's id hides the alert from nobody."""

from __future__ import annotations

import asyncio
import contextlib

from nats.aio.client import Client

from services.console.feed.hub import Hub
from shared import bus
from tests.support.waiting import until
from tidegate.local.server import NatsServer

ID = "analytics/alerts/yard/door.k3f917-1.0"


async def test_an_event_with_a_borrowed_id_hides_no_alert(server: NatsServer, admin: Client) -> None:
    client = await bus.connect(server.settings("console-viewer"), "console-viewer")
    hub = Hub(client)
    heard: list[str] = []
    hub.taps.append(lambda event: heard.append(event.kind))
    running = asyncio.create_task(hub.run())
    try:
        await until(lambda: len(client._subs) == 2)
        await client.flush()
        js = admin.jetstream()
        for subject in ("events.verdicts.other", "events.alerts.yard", "events.alerts.yard"):
            await js.publish(subject, b"{}", headers={"ce-id": ID})
        await js.publish("events.counts.yard", b"{}", headers={"ce-id": "last"})
        await until(lambda: "counts" in heard)
        assert heard == ["verdicts", "alerts", "counts"]
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await client.close()
