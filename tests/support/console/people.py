"""A console on a test's server, in this process, and people who use it over HTTP.

Example:
    async with console_on(server, admin) as console:
        anna = await console.person("anna", "viewer", cameras=["lobby"])     # an httpx client that is signed in
        assert (await anna.get("me")).json()["name"] == "anna"
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import msgspec
from nats.aio.client import Client

from services.console.accounts.records import Person, new_link, person_key
from services.console.server.pages import Pages
from services.console.server.process import serve
from services.console.settings import ConsoleSettings
from services.console.web.asker import Role
from shared import bus
from shared.contract import cameras, names
from shared.runtime.ports import free_port
from shared.runtime.telemetry import Health
from tests.support.waiting import until
from tidegate.local.server import NatsServer

TIMEOUT_S = 60.0
# Otherwise every client would read the system's authorities: 10 ms of CPU each.
TRUSTED = httpx.create_ssl_context()


class Running:
    """url: its address, with a slash at its end. pages: their state. console: the shared state of all routes. stop: set
    it to stop the console inside the block. serving: ends once it has stopped.
    """

    def __init__(self, url: str, admin: Client, pages: Pages, stop: asyncio.Event, serving: asyncio.Task[None]) -> None:
        self.url = url
        self.pages, self.console = pages, pages.console
        self.stop = stop
        self.serving = serving
        self._admin = admin
        self._clients: list[httpx.AsyncClient] = []

    def nobody(self, **headers: str) -> httpx.AsyncClient:
        """A client without a session."""
        client = httpx.AsyncClient(base_url=f"{self.url}api/v1", timeout=TIMEOUT_S, headers=headers, verify=TRUSTED)
        self._clients.append(client)
        return client

    async def person(
        self, name: str, role: Role = "viewer", *, cameras: Sequence[str] = (), sees_all: bool = False, **more: Any
    ) -> httpx.AsyncClient:
        """A new person, signed in; by default they see no camera."""
        person = Person(role=role, cameras=tuple(cameras), sees_all=sees_all, **more)
        await self.put(person_key(name), msgspec.json.encode(person))
        return await self.signed_in(name)

    async def signed_in(self, name: str, role: Role = "viewer") -> httpx.AsyncClient:
        """Another browser of a person."""
        client = self.nobody()
        answer = await client.post("session/link", json={"token": await self.link(name, role)})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client

    async def link(self, name: str, role: Role = "admin") -> str:
        secret, key, entry = new_link(name, role)
        await self.put(key, entry)
        return secret

    async def put(self, key: str, value: bytes) -> None:
        """An entry of the bucket `console`, once the console knows it."""
        revision = await (await self._admin.jetstream().key_value(names.CONSOLE)).put(key, value)
        await until(lambda: self.console.people.bucket.revision(key) >= revision)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@contextlib.asynccontextmanager
async def console_on(server: NatsServer, admin: Client, **settings: Any) -> AsyncIterator[Running]:
    """Runs until the block is left. settings: fields of ConsoleSettings."""
    port = settings.pop("console_port", 0) or free_port(0)
    base = server.settings("console")
    found = ConsoleSettings(
        nats_url=base.nats_url,
        nats_user=base.nats_user,
        nats_password=base.nats_password,
        nats_password_file=str(server.secrets / "console"),
        console_port=port,
        **settings,
    )
    client = await bus.connect(found, "console")
    stop, health = asyncio.Event(), Health()
    opened: asyncio.Future[Pages] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(found, client, health, stop, opened.set_result))
    scheme = "https" if found.console_cert else "http"
    try:
        await until(lambda: task.done() or (opened.done() and health.ready is None and _answers(port)))
        if task.done():
            task.result()
        running = Running(f"{scheme}://127.0.0.1:{port}{found.sub_path}/", admin, opened.result(), stop, task)
        try:
            yield running
        finally:
            await running.close()
    finally:
        stop.set()
        try:
            await task
        finally:
            await client.close()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


async def add_camera(admin: Client, id: str, url: str = "rtsp://10.0.0.7/stream1", **fields: Any) -> None:
    """Store a camera that no ingest reads."""
    camera, _ = cameras.new_camera(url, **fields)
    await (await admin.jetstream().key_value(names.CAMERAS)).put(id, cameras.encode(camera))
