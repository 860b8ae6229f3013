"""A console without a page polls little, and the first page gets the present state."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client

from services.console.now import monitor
from services.console.now.polling import Polling
from tests.support.console.now import of, poll_until
from tests.support.console.people import console_on
from tests.support.processes.echo_service import publish
from tidegate.local.server import NatsServer


async def test_polls_rest_until_a_page_requests_the_state(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "WATCHED_S", 0.0)
    monkeypatch.setattr(monitor, "REST_S", 3600.0)
    polls = []
    poll = Polling.poll

    async def counted(self: Polling) -> None:
        polls.append(self)
        await poll(self)

    monkeypatch.setattr(Polling, "poll", counted)
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        await publish(admin, ["a", "b", "c"])
        await asyncio.sleep(3 * monitor.EVERY_S)  # clock: a busy machine adds no poll, so it fails nothing
        assert len(polls) == 1
        await poll_until(anna, "now", lambda now: of(now, "cv").get("pending") == 3)
