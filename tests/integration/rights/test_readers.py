"""Readers: added to a running server, they read what they may, miss nothing, and disturb nobody."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import nats
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import ServiceUnavailableError

from shared import bus
from shared.contract import names, topology
from shared.contract.rights import readers
from shared.contract.rights.readers import Reader
from shared.runtime.errors import BusError, SettingError
from shared.runtime.settings import BusSettings
from shared.runtime.tasks import end
from tests.support.processes.command_line import tidegate
from tests.support.servers.own_server import OwnServer, accounts
from tests.support.waiting import patience_s, until
from tidegate.local import readers as manage
from tidegate.local import tenants
from tidegate.local.readers import Place
from tidegate.local.server import NatsServer
from tidegate.local.stack import Stack


@pytest.mark.parametrize(
    ("kinds", "cameras", "subjects"),
    [
        ((), (), ("events.>",)),
        (("alerts", "counts"), (), ("events.alerts.>", "events.counts.>")),
        ((), ("lobby",), ("events.*.lobby", "events.revisions.*.lobby")),
        (("detections", "revisions"), (), ("events.detections.>", "events.revisions.>")),
        (("detections", "revisions"), ("a",), ("events.detections.a", "events.revisions.*.a")),
        (
            ("alerts", "counts"),
            ("a", "b"),
            ("events.alerts.a", "events.alerts.b", "events.counts.a", "events.counts.b"),
        ),
        (("alerts", "alerts"), ("a", "a"), ("events.alerts.a",)),
    ],
)
def test_a_reader_reads_its_subjects(
    kinds: tuple[str, ...], cameras: tuple[str, ...], subjects: tuple[str, ...]
) -> None:
    assert readers.new_reader("desk", kinds, cameras).subjects == subjects


@pytest.mark.parametrize(
    ("name", "kinds", "cameras", "words"),
    [
        ("a.b", (), (), r"reader 'a\.b' can't be used"),
        ("desk", ("alert",), (), "no kind of event 'alert': did you mean 'alerts'"),
        ("desk", (">",), (), "no kind of event '>'"),
        ("desk", ("alerts",), ("*",), r"camera id '\*' can't be used"),
    ],
)
def test_unusable_readers_are_refused(name: str, kinds: tuple[str, ...], cameras: tuple[str, ...], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        readers.new_reader(name, kinds, cameras)


class Others:
    """Identities that stay connected while readers come and go, and receive events."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.lost: list[str] = []
        self.clients: dict[str, Client] = {}

    async def connect(self, settings: Callable[[str], BusSettings]) -> None:
        for identity in ("viewer", "cv", "ingest", "analytics"):

            async def lost(identity: str = identity) -> None:
                self.lost.append(identity)

            s = settings(identity)
            self.clients[identity] = await nats.connect(
                s.nats_url, user=s.nats_user, password=s.nats_password, inbox_prefix=f"_INBOX_{identity}".encode(),
                disconnected_cb=lost,
            )  # fmt: skip

        async def hear(message: Msg) -> None:
            self.heard.append(message.subject)

        await self.clients["viewer"].subscribe("events.>", cb=hear)
        await self.clients["viewer"].flush()

    async def still_work(self, camera: str) -> None:
        """Another client hears what one stores, over their existing connections and subscriptions."""
        await self.clients["cv"].jetstream().publish(f"events.detections.{camera}", b"{}")
        await until(lambda: f"events.detections.{camera}" in self.heard)
        await self.clients["analytics"].jetstream().publish(f"events.alerts.{camera}", b"{}")
        await until(lambda: f"events.alerts.{camera}" in self.heard)

    async def close(self) -> None:
        for client in self.clients.values():
            await client.close()


async def pulled(settings: BusSettings, reader: str) -> list[str]:
    """Acknowledge all messages of the reader's consumer, and return their subjects."""
    client = await bus.connect(settings, reader)
    found = []
    try:
        pull = await client.jetstream().pull_subscribe_bind(reader, names.EVENTS)
        while (await pull.consumer_info()).num_pending:
            for message in await pull.fetch(10, timeout=patience_s()):
                found.append(message.subject)
                await message.ack_sync()
    finally:
        await client.close()
    return found


@pytest.mark.slow
async def test_readers_are_added_to_and_removed_from_a_running_server(tmp_path: Path) -> None:
    others = Others()
    async with Stack(tmp_path, {}, port=0) as stack:
        await others.connect(stack.server.settings)
        await others.still_work("before")
        add = (tidegate, tmp_path, "reader", "add", "desk", "--kind", "alerts", "--camera", "yard")
        file = tmp_path / "secrets/reader-desk"
        unknown = await asyncio.to_thread(*add, check=False)
        assert unknown.returncode == 1 and "there is no camera 'yard'" in unknown.stderr and not file.exists()
        reply = await asyncio.to_thread(*add, "--force")
        assert "reader desk: reads events.alerts.yard, from now on" in reply.stdout
        assert file.stat().st_mode & 0o777 == 0o600 and str(file) in reply.stdout
        settings = BusSettings(nats_url=stack.server.url, nats_user="reader-desk", nats_password=file.read_text())
        for camera in ("yard", "lobby"):
            await others.still_work(camera)
        # It was down when they were added.
        assert await pulled(settings, "reader-desk") == ["events.alerts.yard"]

        again = await asyncio.to_thread(tidegate, tmp_path, "reader", "add", "desk", check=False)
        assert again.returncode == 1 and "a reader 'desk' that reads something else" in again.stderr
        listed = await asyncio.to_thread(tidegate, tmp_path, "reader", "list")
        assert listed.stdout.split("\t") == [
            "desk", "alerts", "yard", "reader-desk", "reader-desk", f"{file}\n"
        ]  # fmt: skip

        desk = await bus.connect(settings, "reader-desk")
        await asyncio.to_thread(tidegate, tmp_path, "reader", "remove", "desk")
        await until(lambda: not desk.is_connected)
        await desk.close()
        with pytest.raises(BusError, match="refuses user 'reader-desk'"):
            await bus.connect(settings, "reader-desk")
        assert not file.exists()
        with pytest.raises(nats.js.errors.NotFoundError):
            await stack.admin.jetstream().consumer_info(names.EVENTS, "reader-desk")
        await others.still_work("after")
        missing = await asyncio.to_thread(tidegate, tmp_path, "reader", "remove", "desk", check=False)
        assert missing.returncode == 1 and "there is no reader 'desk': there are none" in missing.stderr
        assert others.lost == []
        await others.close()


async def test_readers_outlive_the_server_and_its_store(tmp_path: Path) -> None:
    tenants.put(tmp_path / "secrets", tenants.with_reader(tenants.read(tmp_path)[0], Reader(name="desk")))
    for _ in range(2):
        async with NatsServer(tmp_path) as server:
            admin = await bus.connect(server.settings("admin"), "admin")
            await server.set_up(admin)
            assert await pulled(server.settings("reader-desk"), "reader-desk") == []
            await admin.jetstream().delete_stream(names.EVENTS)
            await admin.close()


async def test_readers_can_be_removed_while_the_server_reads_its_accounts(server: NatsServer) -> None:
    """The server answers nobody for some milliseconds each time."""
    admin = await bus.connect(server.settings("admin"), "admin")
    await server.set_up(admin)

    def here() -> Place:
        return Place(server.secrets, tenants.whose(server.secrets, "admin"), own=True)

    pid = server.pid
    assert pid

    async def read_anew() -> None:
        while True:
            os.kill(pid, signal.SIGHUP)
            await asyncio.sleep(0.005)

    for n in range(20):
        await manage.add(admin, here(), Reader(name=f"desk-{n}"))
    reading = asyncio.create_task(read_anew())
    try:
        for n in range(20):
            await manage.remove(admin, here(), f"desk-{n}")
    finally:
        await end(reading)
    async with asyncio.timeout(patience_s()):
        while (left := await desks(admin)) is None:
            await asyncio.sleep(0.05)
    assert not left
    await admin.close()


async def desks(client: Client) -> list[str] | None:
    """Consumers of these readers; None while the server reads its accounts, and answers nobody."""
    try:
        return [c.name for c in await client.jetstream().consumers_info(names.EVENTS) if "desk" in c.name]
    except (ServiceUnavailableError, TimeoutError):
        return None


async def test_an_unreadable_file_changes_nothing(server: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "nats/secrets" / tenants.FILE).write_text('{"tenants": [{"nam')
    with pytest.raises(SettingError, match=r"tenants\.json can't be read .*put it back"):
        await server.reload()
    await (await bus.connect(server.settings("cv"), "cv")).close()


async def test_a_reader_receives_only_its_subjects(tmp_path: Path) -> None:
    """By a core subscription; the matrix of rights covers pulls and all other attempts."""
    desk = Reader(name="desk", kinds=("alerts",), cameras=("yard",))
    tenants.put(tmp_path / "secrets", tenants.with_reader(tenants.read(tmp_path)[0], desk))
    heard = []
    async with NatsServer(tmp_path) as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(admin.jetstream(), topology.TopologySettings())

        async def hear(message: Msg) -> None:
            heard.append(message.subject)

        client = await bus.connect(server.settings("reader-desk"), "reader-desk")
        for subject in ("events.alerts.yard", "events.alerts.lobby", "events.>", "stored.>"):
            await client.subscribe(subject, cb=hear)
        await client.flush()
        for subject in ("events.alerts.lobby", "events.detections.yard", "events.alerts.yard"):
            await admin.jetstream().publish(subject, b"{}")
        await until(lambda: heard)
        await client.flush()
        assert heard == ["events.alerts.yard"]
        await client.close()
        await admin.close()


@pytest.mark.slow
async def test_a_reader_works_on_an_own_server(tmp_path: Path) -> None:
    accounts(tmp_path)
    async with OwnServer(tmp_path) as server:
        assert (await server.tidegate("setup")).returncode == 0
        others = Others()
        await others.connect(server.settings)
        refused = await server.tidegate("reader", "add", "desk")
        assert refused.returncode == 1 and "give --accounts, the folder of 'tidegate accounts'" in refused.stderr
        added = await server.tidegate("reader", "add", "desk", "--accounts", "secrets")
        assert added.returncode == 0 and "nats-server --signal reload" in added.stdout, added.stderr
        await server.reload()
        await server.reload()
        password = (tmp_path / "secrets/reader-desk").read_text()
        assert password not in (tmp_path / "secrets/accounts.conf").read_text()
        settings = server.settings("reader-desk")
        admin = await bus.connect(server.settings("admin"), "admin")
        await admin.jetstream().publish("events.alerts.yard", b"{}")
        await admin.close()
        assert await pulled(settings, "reader-desk") == ["events.alerts.yard"]
        removed = await server.tidegate("reader", "remove", "desk", "--accounts", "secrets")
        assert removed.returncode == 0, removed.stderr
        await server.reload()
        with pytest.raises(BusError, match="refuses user"):
            await bus.connect(settings, "reader-desk")
        await others.still_work("after")
        assert others.lost == []
        await others.close()
