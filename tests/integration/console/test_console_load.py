"""Many concurrent browsers, one that stops reading, and lost servers: none harms another, and all recover."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import httpx
import pytest
from nats.aio.client import Client

from services.console.feed.hub import MOST_WAITING
from tests.support.console.people import add_camera, console_on
from tests.support.waiting import until
from tidegate.local.server import NatsServer

BROWSERS, EVENTS = 50, 400
FAT = 20_000


async def say(admin: Client, first: int, count: int, size: int = 0) -> None:
    for n in range(first, first + count):
        body = json.dumps({"camera": "lobby", "n": n, "more": "x" * size}).encode()
        headers = {"ce-id": f"load/{n}", "Nats-Msg-Id": f"load/{n}"}
        await admin.jetstream().publish("events.alerts.lobby", body, headers=headers)


class Heard:
    """What one browser got: its alerts, and the reported number of missed ones."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.alerts: list[int] = []
        self.missed = 0
        self.ready = asyncio.Event()
        self._client = client

    async def run(self) -> None:
        kind = ""
        async with self._client.stream("GET", "events", params={"kinds": "alerts"}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                    self.ready.set()
                elif line.startswith("data: ") and kind == "alerts":
                    self.alerts.append(json.loads(line[6:])["n"])
                elif line.startswith("data: ") and kind == "missed":
                    self.missed += json.loads(line[6:])["missed"]["alerts"]

    @property
    def cameras_of(self) -> int:
        return len(self.alerts) + self.missed


@pytest.mark.slow
async def test_fifty_browsers_get_every_event(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        anna._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=BROWSERS + 10))
        heard = [Heard(anna) for _ in range(BROWSERS)]
        tasks = [asyncio.create_task(one.run()) for one in heard]
        await until(lambda: all(one.ready.is_set() for one in heard))
        await say(admin, 0, EVENTS)
        await until(lambda: all(one.cameras_of == EVENTS for one in heard))
        assert all(one.alerts == sorted(set(one.alerts)) for one in heard)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.slow
async def test_a_stalled_browser_gets_its_missed_count_and_takes_no_memory(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console:
        anna, bert = await console.person("anna", sees_all=True), await console.person("bert", sees_all=True)
        quick = Heard(bert)
        reading = asyncio.create_task(quick.run())
        total = 3 * MOST_WAITING
        async with anna.stream("GET", "events", params={"kinds": "alerts"}) as slow:
            lines = slow.aiter_lines()
            assert await anext(lines) == "event: ready"
            await until(lambda: quick.ready.is_set())
            await say(admin, 0, total, FAT)
            await until(lambda: quick.cameras_of == total)
            # Its own buffers and the system's have some: the rest was dropped, and counted.
            counted: Counter[str] = Counter()
            kind = ""
            while sum(counted.values()) < total:
                line = await anext(lines)
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: ") and kind == "alerts":
                    counted["heard"] += 1
                elif line.startswith("data: ") and kind == "missed":
                    counted["missed"] += json.loads(line[6:])["missed"]["alerts"]
            assert counted["missed"] > 0 and counted["heard"] >= MOST_WAITING
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_events_resume_after_a_server_outage(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        heard = Heard(anna)
        task = asyncio.create_task(heard.run())
        await until(lambda: heard.ready.is_set())
        await server.restart()
        while not (await anna.get("health")).json()["connected"]:
            await asyncio.sleep(0.05)
        await until(lambda: admin.is_connected)
        n = 0
        while not heard.alerts:
            await say(admin, n, 1)
            n += 1
            await asyncio.sleep(0.1)
        assert (await anna.get("me")).status_code == 200, "whoever was signed in still is"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_sessions_survive_a_restart_of_the_console(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as first:
        anna = await first.person("anna")
        cookies = dict(anna.cookies)
    async with console_on(server, admin) as second:
        again = second.nobody()
        again.cookies.update(cookies)
        assert (await again.get("me")).json()["name"] == "anna"
