"""A console with two cameras, objects of each, and one person of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec
from nats.aio.client import Client

from services.console.accounts.records import Group, Person, group_key, person_key
from services.console.web.asker import ROLES
from shared.contract import deadletters, names
from tests.support.console.people import Running, add_camera, console_on
from tests.support.console.rights import Row
from tests.support.waiting import patience_s
from tests.support.worlds.incidents import incident, say
from tests.support.worlds.runs import put, put_raw, reanalysis
from tidegate.local.server import NatsServer

# With names of one length, answers differ only by the name.
SEEN, HIDDEN, NONE = "lobby", "vault", "nowhr"


class World:
    """all: by role, a person who sees every camera; some: one who sees SEEN alone; programs: with a token of `all`."""

    def __init__(self, console: Running, admin: Client) -> None:
        self.console = console
        self.nobody = console.nobody()
        self.all: dict[str, httpx.AsyncClient] = {}
        self.some: dict[str, httpx.AsyncClient] = {}
        self.programs: dict[str, httpx.AsyncClient] = {}
        self._browsers: dict[str, httpx.AsyncClient] = {}
        self._admin = admin
        self._incidents: dict[str, str] = {}
        self._numbers = itertools.count(1)

    async def begin(self) -> None:
        for role in ROLES:
            self.all[role] = await self.console.person(f"{role}-all", role, sees_all=True)
            self.some[role] = await self.console.person(f"{role}-some", role, cameras=[SEEN])
            self._browsers |= {f"{role}-all": self.all[role], f"{role}-some": self.some[role]}
            built = await self.all[role].post("me/tokens", json={"label": "a program"})
            self.programs[role] = self.console.nobody(Authorization=f"Bearer {built.json()['secret']}")
        for camera in (SEEN, HIDDEN):
            await add_camera(self._admin, camera)
            await say(self._admin, incident(f"crowd.{camera}", camera))
        await put(self._admin, reanalysis("both", SEEN, HIDDEN))
        await put_raw(self._admin, f"of-{HIDDEN}", b"no run")
        # From here on, numbers of dead letters have the same number of digits as that of the missing one.
        for _ in range(100):
            await self._letter(HIDDEN)
        async with asyncio.timeout(patience_s()):
            while len(self._incidents) < 2:
                found = (await self.all["admin"].get("incidents")).json()["incidents"]
                self._incidents = {card["camera"]: card["id"] for card in found}

    async def names(self, row: Row, camera: str) -> dict[str, str]:
        """The values of a row's braces. camera: SEEN, HIDDEN, or NONE, which has no objects."""
        found = {"camera": camera, "guest": "guest", "group": "ways"}
        if "{letter}" in row.at:
            found["letter"] = str(await self._letter(camera))
        if "{incident}" in row.at:
            found["incident"] = self._incidents.get(camera) or _another(self._incidents[HIDDEN])
        if "{camera}" in repr(row) and camera != NONE:
            await self._there(camera)
        if "{guest}" in row.at:
            await self.console.put(person_key("guest"), msgspec.json.encode(Person(role="viewer")))
        if "{group}" in row.at:
            await self.console.put(group_key("ways"), msgspec.json.encode(Group()))
        return found

    async def ask(self, client: httpx.AsyncClient, method: str, row: Row, camera: str = SEEN) -> httpx.Response:
        """An answer to a row's request; of an endless one its beginning."""
        values = await self.names(row, camera)
        at, query, body = (_filled(part, values) for part in (row.at, row.query, row.body))
        request = client.build_request(method, at, params=query, json=body)
        answer = await client.send(request, stream=True)
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        await answer.aclose()
        if row.signs_out:
            await self._again(client)
        return answer

    async def _again(self, client: httpx.AsyncClient) -> None:
        """Sign a person in again after signing out."""
        for name, browser in self._browsers.items():
            if browser is client:
                signed = await client.post("session/link", json={"token": await self.console.link(name)})
                client.headers["X-CSRF-Token"] = signed.json()["csrf"]

    async def _there(self, camera: str) -> None:
        """Create it again, if an earlier row has removed it."""
        if (await self.all["admin"].get(f"cameras/{camera}")).status_code != 200:
            await add_camera(self._admin, camera)
        async with asyncio.timeout(patience_s()):
            while (await self.all["admin"].get(f"cameras/{camera}")).status_code != 200:
                await asyncio.sleep(0.01)

    async def _letter(self, camera: str) -> int:
        """A new dead letter of a camera; without a camera, a number that no dead letter has."""
        js = self._admin.jetstream()
        if camera == NONE:
            return (await js.stream_info(names.DLQ)).state.last_seq + 10
        subject, payload = names.media(camera), f"video {next(self._numbers)}".encode()
        seq = (await js.publish(subject, payload)).seq
        headers = deadletters.dead_letter_headers(
            "cv", "no keyframe", stream="MEDIA", seq=seq, subject=subject, deliveries=5, headers={}
        )
        return int((await js.publish("dlq.cv", payload, headers=headers)).seq)


@contextlib.asynccontextmanager
async def world_on(server: NatsServer, admin: Client) -> AsyncIterator[World]:
    async with console_on(server, admin) as console:
        world = World(console, admin)
        await world.begin()
        yield world


def _filled(part: Any, values: dict[str, str]) -> Any:
    match part:
        case str():
            return part.format(**values) if "{" in part else part
        case Mapping():
            return {name: _filled(value, values) for name, value in part.items()}
        case list():
            return [_filled(value, values) for value in part]
        case _:
            return part


def _another(id: str) -> str:
    """An unused id of the same length."""
    return id[:-1] + ("0" if id[-1] != "0" else "1")
