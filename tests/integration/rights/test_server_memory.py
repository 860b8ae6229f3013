"""Memory of nats-server under clients that do not read: one password's connections, and the unread bytes of each."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from nats.aio.client import Client

from shared import bus
from shared.contract import memory, topology
from shared.contract.memory import MB
from shared.contract.rights.accounts import Tenant, block
from shared.runtime.settings import BusSettings
from tests.support.waiting import until
from tidegate.local.server import NatsServer

SILENT = 12
# Of the server's memory: its use without clients, and the clients' unread bytes.
LIMIT = 250 * MB + int(1.3 * SILENT * memory.MAX_PENDING)
# Published while they do not read: more than the server may buffer for each.
FLOOD, PART = 60 * MB, 100_000


@contextmanager
def silent(login: BusSettings, *subjects: str) -> Iterator[socket.socket]:
    """A connection that subscribes, and reads nothing from then on."""
    at = urlsplit(login.nats_url)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect((at.hostname, at.port))
        s.recv(65536)
        who = {"user": login.nats_user, "pass": login.nats_password, "verbose": False, "headers": True}
        s.sendall(f"CONNECT {json.dumps(who)}\r\nPING\r\n".encode())
        assert b"PONG" in s.recv(65536)
        s.sendall("".join(f"SUB {subject} {n}\r\n" for n, subject in enumerate(subjects, 1)).encode())
        s.sendall(b"PING\r\n")
        assert b"PONG" in s.recv(65536)
        yield s


def resident(server: NatsServer) -> int:
    """Bytes of the server's memory."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024


async def flood(client: Client, server: NatsServer) -> int:
    """Publish events until FLOOD bytes are stored; return the server's peak memory meanwhile."""
    js, most = client.jetstream(), 0
    for _ in range(FLOOD // PART):
        await js.publish("events.detections.yard", os.urandom(PART))
        most = max(most, resident(server))
    return most


async def test_clients_that_do_not_read_are_closed_before_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `max_pending` of 64 MB, as by default, these took 0.8 GB."""
    monkeypatch.setenv("GOMEMLIMIT", f"{LIMIT // MB}MiB")
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(admin.jetstream(), topology.TopologySettings())
        with ExitStack() as open_:
            for _ in range(SILENT):
                open_.enter_context(silent(server.settings("viewer"), "events.>"))
            most = await flood(admin, server)
            await until(lambda: server.log.read_text().count("Slow Consumer") == SILENT)
        await admin.close()
    assert most < 1.25 * LIMIT


@pytest.mark.parametrize("identity", ["cv", "viewer"])
async def test_one_password_opens_no_more_connections_than_memory_allows(server: NatsServer, identity: str) -> None:
    login = server.settings(identity)
    with ExitStack() as open_:
        for _ in range(memory.CONNECTIONS):
            open_.enter_context(silent(login))
        with pytest.raises((AssertionError, ConnectionError)), silent(login):
            pass
        # Others still connect.
        await (await bus.connect(server.settings("embed"), "embed")).close()


def test_the_operator_can_raise_connections_and_memory() -> None:
    tenant = Tenant(max_connections=200)
    accounts = json.loads(block(dict.fromkeys(tenant.users.values(), "x"), [tenant]).partition(": ")[2])
    given = {name: account["limits"]["max_connections"] for name, account in accounts.items()}
    assert given[tenant.name] == given[f"{tenant.name}-cv"] == given[f"{tenant.name}-viewer"] == 200
    assert memory.needed(200) > 4 * 2**30 > 2 * 2**30 > memory.needed()
