"""The apps of "Subscribe from your app", run as they stand on the page, against a real server."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared import bus
from shared.contract import names
from shared.contract.rights import readers
from tests.support import npm
from tests.support.paths import ROOT
from tests.support.waiting import patience_s, until
from tidegate.local import tenants
from tidegate.local.server import NatsServer

PAGE = (ROOT / "docs/how-to/subscribe.md").read_text()
NATS_JS = "3.4.0"


def snippet(heading: str, language: str) -> str:
    section = PAGE.split(f"### {heading}\n", 1)[1]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[0]


@pytest.fixture(params=["python", "javascript"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command that runs it."""
    if request.param == "python":
        (tmp_path / "desk.py").write_text(snippet("Python", "python"))
        return [sys.executable, str(tmp_path / "desk.py")]
    more = f"@nats-io/jetstream@{NATS_JS}"
    modules = npm.installed(request.config, "@nats-io/transport-node", NATS_JS, more).parents[1]
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "desk.mjs").write_text(snippet("JavaScript", "javascript"))
    return ["node", str(tmp_path / "desk.mjs")]


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[NatsServer, Client]]:
    """A server with the reader that the page adds."""
    desk = readers.new_reader("desk", ["alerts", "incidents"], ["lobby"])
    folder = tmp_path / "nats/secrets"
    tenants.put(folder, tenants.with_reader(tenants.read(folder)[0], desk))
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await server.set_up(admin)
        yield server, admin
        await admin.close()


class App:
    """A run of it."""

    def __init__(self, command: list[str], server: NatsServer) -> None:
        self._command = command
        self._environment = os.environ | server.environment("reader-desk")
        self.lines: list[str] = []

    async def __aenter__(self) -> App:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())


async def publish(admin: Client, subject: str, payload: bytes, id: str) -> None:
    await admin.jetstream().publish(subject, payload, headers={"ce-id": id})


async def pending(admin: Client) -> int:
    """Return the number of messages that the reader has not acknowledged."""
    info = await admin.jetstream().consumer_info(names.EVENTS, "reader-desk")
    return int(info.num_pending or 0) + int(info.num_ack_pending or 0)


async def test_the_apps_miss_nothing_and_do_nothing_twice(app: list[str], served: tuple[NatsServer, Client]) -> None:
    server, admin = served
    event = b'{"camera": "lobby"}'
    # What comes before it runs, of which a part is not its own.
    for n, subject in enumerate(("events.alerts.lobby", "events.incidents.lobby", "events.tracks.lobby")):
        await publish(admin, subject, event, f"before/{n}")
    await publish(admin, "events.alerts.yard", event, "before/yard")
    async with App(app, server) as desk:
        await until(lambda: len(desk.lines) == 2)
        assert desk.lines == ["events.alerts.lobby lobby", "events.incidents.lobby lobby"]
        # The same event stored twice, and one that can't be read.
        await publish(admin, "events.alerts.lobby", event, "before/0")
        await publish(admin, "events.alerts.lobby", b"{", "broken")
        await publish(admin, "events.incidents.lobby", event, "after")
        await until(lambda: len(desk.lines) == 4)
        assert desk.lines[2].startswith("broken can never be used: ")
        assert desk.lines[3] == "events.incidents.lobby lobby"
        async with asyncio.timeout(patience_s()):
            while await pending(admin):
                await asyncio.sleep(0.05)
    await publish(admin, "events.alerts.lobby", event, "away")
    async with App(app, server) as desk:
        await until(lambda: desk.lines)
        assert desk.lines == ["events.alerts.lobby lobby"], "what was acknowledged does not come again"


async def test_the_apps_continue_after_the_server_was_away(app: list[str], served: tuple[NatsServer, Client]) -> None:
    server, admin = served
    async with App(app, server) as desk:
        await publish(admin, "events.alerts.lobby", b'{"camera": "lobby"}', "1")
        await until(lambda: len(desk.lines) == 1)
        await server.restart()
        await until(lambda: admin.is_connected)
        await publish(admin, "events.incidents.lobby", b'{"camera": "lobby"}', "2")
        await until(lambda: "events.incidents.lobby lobby" in desk.lines)
        assert desk.process.returncode is None


async def test_the_apps_end_when_their_consumer_is_removed(
    app: list[str], served: tuple[NatsServer, Client], tmp_path: Path
) -> None:
    server, admin = served
    async with App(app, server) as desk:
        await publish(admin, "events.alerts.lobby", b'{"camera": "lobby"}', "1")
        await until(lambda: len(desk.lines) == 1)
        folder = tmp_path / "nats/secrets"
        tenants.put(folder, tenants.without_reader(tenants.read(folder)[0], "desk"))
        await server.reload()
        assert await asyncio.wait_for(desk.process.wait(), patience_s()) == 1
        assert any("uthoriz" in line for line in desk.lines), desk.lines
