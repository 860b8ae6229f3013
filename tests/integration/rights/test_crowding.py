"""The holder of one password takes neither the server's connections, nor its memory, nor its files from the others."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats.js.errors
import pytest
from nats.aio.client import Client

from shared import bus
from shared.contract.rights.readers import Reader
from shared.runtime.settings import BusSettings
from tests.support.servers.own_server import OwnServer, accounts
from tests.support.servers.small_server import FEW
from tests.support.waiting import patience_s
from tidegate.local import tenants
from tidegate.local.server import NatsServer

MANY = 1500


class Crowd:
    """Connections of one user, up to the server's limit."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()

    async def grow(self, most: int) -> tuple[int, bytes]:
        """Return how many connections of `most` the server accepted, and its reply to the first refused one."""
        for taken in range(most):
            reply, _ = await self.join()
            if reply != b"PONG\r\n":
                return taken, reply
        return most, b""

    async def join(self) -> tuple[bytes, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open one more connection: the server's reply, and the connection's ends."""
        host, _, port = self._settings.nats_url.removeprefix("nats://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
        self._writers.append(writer)
        login = {"verbose": False, "user": self._settings.nats_user, "pass": self._settings.nats_password}
        writer.write(b"CONNECT " + json.dumps(login).encode() + b"\r\nPING\r\n")
        async with asyncio.timeout(patience_s()):
            while (line := await reader.readline()).startswith((b"INFO", b"PING")):
                pass
        return line, (reader, writer)


@pytest.mark.slow
@pytest.mark.parametrize("user", ["reader-desk", "viewer", "cv"])
async def test_one_identity_cannot_take_all_connections(tmp_path: Path, user: str) -> None:
    desk = Reader(name="desk")
    tenants.put(tmp_path / "secrets", tenants.with_reader(tenants.read(tmp_path)[0], desk))
    async with NatsServer(tmp_path) as server, Crowd(server.settings(user)) as crowd:
        taken, reply = await crowd.grow(MANY)
        assert taken < MANY and b"maximum account active connections exceeded" in reply, reply
        await (await bus.connect(server.settings("search"), "search")).close()


@pytest.mark.slow
async def test_the_admin_of_a_tenant_cannot_take_all_connections(tmp_path: Path) -> None:
    accounts(tmp_path, "--tenant", "ACME")
    accounts(tmp_path, "--tenant", "GLOBEX")
    async with OwnServer(tmp_path) as server, Crowd(server.settings("ACME-admin")) as crowd:
        assert (await crowd.grow(MANY))[0] < MANY
        await (await bus.connect(server.settings("GLOBEX-cv"), "cv")).close()


@pytest.mark.parametrize(
    "subject",
    ["events.detections.a.b", f"events.detections.{'a' * 500}", "media.a.b"],
    ids=["two tokens", "a long one", "video"],
)
async def test_a_published_subject_is_short_and_of_one_camera(server: NatsServer, subject: str) -> None:
    """The server has each subject of a stream in memory: 210,000 of 3000 characters took it 2.25 GB."""
    user = "ingest" if subject.startswith("media") else "cv"
    async with Crowd(server.settings(user)) as crowd:
        _, (reader, writer) = await crowd.join()
        writer.write(b"PUB %s 2\r\n{}\r\nPING\r\n" % subject.encode())
        async with asyncio.timeout(patience_s()):
            reply = await reader.read(1000)
        assert b"maximum control line exceeded" in reply or b"permissions violation" in reply.lower(), reply
    admin = await bus.connect(server.settings("admin"), "admin")
    assert not (await admin.jetstream().stream_info("EVENTS")).state.messages
    await admin.close()


async def test_a_connection_has_a_limit_of_subscriptions(server: NatsServer) -> None:
    """A million subscriptions take the server 0.8 GB."""
    async with Crowd(server.settings("viewer")) as crowd:
        _, (reader, writer) = await crowd.join()
        writer.write(b"".join(b"SUB _INBOX_viewer.%d %d\r\n" % (n, n) for n in range(20_000)) + b"PING\r\n")
        async with asyncio.timeout(patience_s()):
            while (line := await reader.readline()).startswith((b"INFO", b"PING")):
                pass
        assert b"maximum subscriptions exceeded" in line, line


@pytest.mark.parametrize("user", ["reader-desk", "viewer"])
async def test_an_app_gets_an_event_at_most_a_thousand_times(tmp_path: Path, user: str) -> None:
    """The server delivers before it stores the next event: with 20,000 subscriptions one app delayed all events."""
    tenants.put(tmp_path / "secrets", tenants.with_reader(tenants.read(tmp_path)[0], Reader(name="desk")))
    async with NatsServer(tmp_path) as server, Crowd(server.settings(user)) as crowd:
        admin = await bus.connect(server.settings("admin"), "admin")
        await server.set_up(admin)
        _, (reader, writer) = await crowd.join()
        connections = 1 + (await crowd.grow(MANY))[0]
        writer.write(b"".join(b"SUB events.> %d\r\n" % n for n in range(1000)) + b"PING\r\n")
        await heard(reader)
        await admin.jetstream().publish("events.alerts.lobby", b"{}")
        await admin.close()
        # The answer to its ping comes after its messages.
        await asyncio.sleep(0.5)
        writer.write(b"PING\r\n")
        copies = (await heard(reader)).count(b"MSG ")
        assert 0 < copies * connections <= 1000


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Everything that the server sends until the answer to a ping."""
    async with asyncio.timeout(patience_s()):
        return await reader.readuntil(b"PONG\r\n")


@asynccontextmanager
async def with_few_files(data: Path) -> AsyncIterator[dict[str, BusSettings]]:
    """Settings of some identities for a server with a low limit of open files."""
    command = f"from tests.support.servers.small_server import serve; serve({str(data)!r})"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin and process.stdout
    try:
        url = (await process.stdout.readline()).decode().strip()
        passwords = {user: (data / "secrets" / user).read_text() for user in ("admin", "cv", "ingest")}
        yield {user: BusSettings(nats_url=url, nats_user=user, nats_password=p) for user, p in passwords.items()}
    finally:
        process.stdin.close()
        await process.wait()


async def stored(admin: Client) -> int:
    """Publish 40 large messages, and count the stored ones: their stream needs new files for them."""
    found = 0
    for _ in range(40):
        await admin.jetstream().publish("media.lobby", bytes(2**20), timeout=patience_s())
        found += 1
    return found


async def test_connections_leave_the_store_its_files_and_others_their_connections(tmp_path: Path) -> None:
    """A stream without a descriptor stored nothing more, even after the connections closed (nats-server 2.15.1)."""
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(with_few_files(tmp_path))
        admin = await bus.connect(settings["admin"], "admin")
        stack.push_async_callback(admin.close)
        crowd = await stack.enter_async_context(Crowd(settings["cv"]))
        # The server closes refused connections immediately.
        for _ in range(4):
            taken, reply = await crowd.grow(FEW)
        assert (taken, await stored(admin)) == (0, 40), reply
        assert b"maximum account active connections exceeded" in reply, reply
        await (await bus.connect(settings["ingest"], "ingest")).close()


@pytest.mark.parametrize(
    ("user", "key", "size"),
    [
        ("analytics", "$KV.analytics.camera.1.c{n}", 4 * 2**20),
        ("analytics", "$KV.partitions.partition.{n}", 2000),
        ("ingest", "$KV.leases.camera.c{n}", 2000),
    ],
)
async def test_a_writer_of_a_bucket_cannot_fill_the_disk(
    server: NatsServer, admin: Client, user: str, key: str, size: int
) -> None:
    """A full disk stops every stream."""
    client = await bus.connect(server.settings(user), user)
    js = client.jetstream()
    bucket = key.split(".")[1]
    try:
        with pytest.raises(nats.js.errors.APIError, match="maximum"):
            for n in range(200):
                await js.publish(key.format(n=n), bytes(size), timeout=patience_s())
        # There is room for its own service's writes.
        await js.publish(key.format(n=0), b"its-host-7-ab12", timeout=patience_s())
    finally:
        await client.close()
    assert (await admin.jetstream().stream_info(f"KV_{bucket}")).state.bytes <= 2**28
