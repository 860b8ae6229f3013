"""A hung server accepts connections and sends nothing: its clients go to another one."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import bus
from shared.contract import names
from tests.support.waiting import until
from tidegate.chaos.network_proxy import NetworkProxy, slowly
from tidegate.local.server import NatsServer

LEASE_S = 2.0
MB = 1024 * 1024


@pytest.mark.parametrize("unsent", [0, 30 * MB])
async def test_clients_of_a_hung_server_go_to_another(tmp_path: Path, unsent: int) -> None:
    """Regression: they noticed after half a minute, and then waited until it had read all written data."""
    async with NatsServer(tmp_path / "one") as one:
        shutil.copytree(tmp_path / "one" / "secrets", tmp_path / "other" / "secrets")
        async with NatsServer(tmp_path / "other") as other:
            settings = one.settings("admin")
            settings = replace(settings, nats_url=f"{one.url},{other.url}", lease_s=LEASE_S)
            client = await bus.connect(settings, "admin")
            left, came_to = (one, other) if str(client.connected_url.port) in one.url else (other, one)
            assert left.pid
            os.kill(left.pid, signal.SIGSTOP)
            try:
                for _ in range(unsent // MB):
                    await client.publish(names.media("lobby"), bytes(MB))
                await until(lambda: client.connected_url and str(client.connected_url.port) in came_to.url)
            finally:
                os.kill(left.pid, signal.SIGCONT)
                await client.close()


@pytest.mark.slow
async def test_the_hung_server_is_tried_last(server: NatsServer) -> None:
    """It accepts connections, and each attempt costs half a lease, of which two fifths are left."""
    async with NetworkProxy(server.url) as one, NetworkProxy(server.url) as other:
        settings = replace(server.settings("admin"), nats_url=f"{one.url},{other.url}", lease_s=2 * LEASE_S)
        client = await bus.connect(settings, "admin")
        for _ in range(6):
            left, came_to = (one, other) if client.connected_url.port == one.port else (other, one)
            taken = left.taken
            left.stall()
            await until(lambda: client.is_connected and client.connected_url.port == came_to.port)  # noqa: B023
            assert left.taken == taken
            left.mend()
        await client.close()


@pytest.mark.slow
async def test_a_large_message_on_a_slow_network_is_a_sign_of_life(server: NatsServer, admin: Client) -> None:
    """Regression: the answers to pings wait behind the message: the client left in its middle, repeatedly."""
    async with NetworkProxy(server.url, back=slowly(MB // 2)) as way:
        client = await bus.connect(replace(server.settings("admin"), nats_url=way.url, lease_s=LEASE_S), "admin")
        heard: list[int] = []

        async def hear(message: Msg) -> None:
            heard.append(len(message.data))

        await client.subscribe(names.media("lobby"), cb=hear)
        await client.flush()
        await admin.publish(names.media("lobby"), bytes(4 * MB))
        await until(lambda: heard or client.stats["reconnects"])
        assert heard == [4 * MB]
        await client.close()


async def test_a_half_open_connection_is_left(server: NatsServer) -> None:
    """As after the restart of a router in between: sent data is lost without an error."""
    async with NetworkProxy(server.url) as way:
        client = await bus.connect(replace(server.settings("admin"), nats_url=way.url, lease_s=LEASE_S), "admin")
        client.has_leases = True
        way.forget()
        await until(lambda: client.stats["reconnects"] and client.is_connected)
        await client.flush()
        await client.close()
