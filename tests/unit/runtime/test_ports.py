"""Ports of loopback: a chosen port is free, even if other processes choose at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

import pytest

from shared.runtime.errors import BusError
from shared.runtime.ports import free_port
from tidegate.local.server import NatsServer

FINDS = "from shared.runtime.ports import free_port; print(*[free_port(0) for _ in range(60)]); input()"


async def test_concurrent_processes_find_different_ports() -> None:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-c", FINDS)
    looking = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(4)]
    found: list[int] = []
    for process in looking:
        assert process.stdout
        found += [int(port) for port in (await process.stdout.readline()).split()]
    await asyncio.gather(*(process.communicate(b"\n") for process in looking))
    assert len(set(found)) == len(found) == 240


def test_a_port_is_outside_the_range_of_outgoing_connections() -> None:
    assert free_port(0) < 32_768


def test_the_preferred_port_is_chosen_unless_it_is_in_use() -> None:
    port = free_port(0)
    assert [free_port(port), free_port(port)] == [port, port]
    with contextlib.closing(socket.create_server(("127.0.0.1", port))):
        assert free_port(port) != port


async def test_a_foreign_listener_does_not_pass_for_the_server(tmp_path: Path) -> None:
    """Clients would send it their passwords."""
    server = NatsServer(tmp_path)
    port = int(server.url.rpartition(":")[2])
    with contextlib.closing(socket.create_server(("127.0.0.1", port))), pytest.raises(BusError, match="in use"):
        await server.start()
