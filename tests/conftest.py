"""Fixtures: a real nats-server for the session, with the real streams, consumers and identities."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from nats.aio.client import Client

from shared import bus, topology
from tidegate.server import NatsServer

# A shell ignores Ctrl-C for what it runs in the background, and children inherit that: those we start must hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A nats-server of this test's own, set up: it starts in some 50 ms, and tests may break it."""
    async with NatsServer(tmp_path / "nats") as s:
        client = await bus.connect(s.settings("admin"), "admin")
        await topology.apply(client.jetstream(), topology.TopologySettings())
        await client.close()
        yield s


@pytest_asyncio.fixture
async def admin(server: NatsServer) -> AsyncIterator[Client]:
    """A connection that may do everything."""
    client = await bus.connect(server.settings("admin"), "admin")
    yield client
    if not client.is_closed:
        await client.close()
