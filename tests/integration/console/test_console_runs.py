"""Runs over recordings by the console's API: for people who may see all their cameras, with live progress."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from nats.aio.client import Client

from shared.contract import names
from shared.contract.work.runs import Reanalysis
from tests.support.console.people import add_camera, console_on
from tests.support.waiting import until
from tests.support.worlds.runs import put, put_raw, reanalysis
from tidegate.local.server import NatsServer


async def listed_runs(asker: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await asker.get("runs")).json()
    return found


async def ids(asker: httpx.AsyncClient) -> list[str]:
    return [one["of"]["run"] for one in (await listed_runs(asker))["runs"]]


async def until_listed(asker: httpx.AsyncClient, count: int) -> None:
    """Wait until the console lists `count` entries."""
    while sum(map(len, (await listed_runs(asker)).values())) < count:
        await asyncio.sleep(0.02)


class Heard:
    """The run events that a person received."""

    def __init__(self, client: httpx.AsyncClient, **query: str) -> None:
        self.events: list[tuple[str, Any]] = []
        self.ready = asyncio.Event()
        self._client, self._query = client, query

    async def run(self) -> None:
        kind = ""
        async with self._client.stream("GET", "events", params=self._query) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                    self.ready.set()
                elif line.startswith("data: ") and kind != "ready":
                    self.events.append((kind, json.loads(line[6:])))

    @property
    def runs(self) -> list[str]:
        return [event["run"] for kind, event in self.events if kind == "runs"]


async def test_a_run_is_visible_to_people_who_see_all_its_cameras(server: NatsServer, admin: Client) -> None:
    for camera in ("cam", "door", "vault"):
        await add_camera(admin, camera)
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        anna = await console.person("anna", "admin", cameras=["cam", "door"])
        bert = await console.person("bert")
        token = (await anna.post("me/tokens", json={"label": "a program", "cameras": ["cam"]})).json()["secret"]
        program = console.nobody(Authorization=f"Bearer {token}")
        assert await listed_runs(anna) == {"runs": [], "unusable": []}
        heard = {
            who: Heard(client, **query)
            for who, client, query in (
                ("root", root, {"kinds": "runs"}),
                ("anna", anna, {"kinds": "runs"}),
                ("one", anna, {"kinds": "runs", "cameras": "door"}),
                ("events", root, {}),
            )
        }
        tasks = [asyncio.create_task(one.run()) for one in heard.values()]
        await until(lambda: all(one.ready.is_set() for one in heard.values()))
        for n, cameras in enumerate(
            (("cam",), ("door", "vault"), ("cam", "door"), ("cam", "door", "vault"), ("gone",))
        ):
            await put(admin, reanalysis(f"r{n}", *cameras))
        # Entries of other writers are shown to people who can repair them, and harm nobody.
        await put_raw(admin, "by-hand", b'{"run": "by-hand", "cameras": ["vault"]}')
        await put_raw(admin, "r0.copy", b"\xff")
        await until_listed(root, 7)
        assert sorted(await ids(root)) == ["r0", "r1", "r2", "r3", "r4"]
        assert sorted(await ids(anna)) == ["r0", "r2"]
        assert (await ids(program), await ids(bert)) == (["r0"], [])
        mistakes = {one["run"]: one["mistake"] for one in (await listed_runs(root))["unusable"]}
        assert mistakes.keys() == {"by-hand", "r0.copy"} and "missing required field `since`" in mistakes["by-hand"]
        assert [(await listed_runs(who))["unusable"] for who in (anna, program, bert)] == [[], [], []]
        await put(admin, reanalysis("r2", "cam", "door", frames_done=2000))
        await until(lambda: all(heard[who].runs[-1:] == ["r2"] for who in ("root", "anna", "one")))
        assert heard["root"].runs == ["r0", "r1", "r2", "r3", "r4", "r2"]
        assert (heard["anna"].runs, heard["one"].runs) == (["r0", "r2", "r2"], ["r2", "r2"])
        assert heard["anna"].events[-1][1]["frames_done"] == 2000
        assert heard["events"].events == []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        strange = await root.get("events", params={"kinds": "walks"})
        assert strange.status_code == 400 and "runs" in strange.json()["error"]


async def test_the_latest_runs_come_first_and_expired_ones_disappear(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", sees_all=True)
        built: list[Reanalysis] = [reanalysis(f"r{n}", "cam") for n in range(3)]
        for n, run in enumerate(built):
            await put(admin, reanalysis(run.run, "cam", began=run.began.replace(year=2020 + n)))
        await until_listed(root, 3)
        assert await ids(root) == ["r2", "r1", "r0"]
        assert (await listed_runs(root))["runs"][0]["of"]["pieces_done"] == 2
        await (await admin.jetstream().key_value(names.RUNS)).delete("r1")
        while await ids(root) != ["r2", "r0"]:
            await asyncio.sleep(0.02)
