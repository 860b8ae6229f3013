"""A service in the test's own process, with its identity's few rights; connections, and waits for its work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.api import ConsumerInfo

from shared import bus
from shared.runtime.telemetry import Health
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


@contextlib.asynccontextmanager
async def serving(
    server: NatsServer, identity: str, run: Any, settings: Any, *, at: str = "", until_ready: bool = True
) -> AsyncIterator[Health]:
    """`run` of the service's `__main__`, ready; drained at the end. at: the server's address, if not its own URL."""
    login = server.settings(identity)
    client = await bus.connect(replace(login, nats_url=at or login.nats_url), identity)
    health, stop = Health(), asyncio.Event()
    task = asyncio.create_task(run(settings, client, health, stop))
    try:
        async with asyncio.timeout(patience_s()):
            while until_ready and health.ready and not task.done():
                await asyncio.sleep(0.02)
        yield health
    finally:
        stop.set()
        await task
        await client.close()


async def settled(client: Client, stream: str = "MEDIA", consumer: str = "embed") -> None:
    """Wait until nothing is pending and nothing is in flight. Raises TimeoutError after long without progress."""
    js, left, quiet = client.jetstream(), -1, 0
    # A consumer learns of a message after its publisher's PubAck: one read may come too early.
    while quiet < 2:
        async with asyncio.timeout(patience_s()):
            while (now := _left(await js.consumer_info(stream, consumer))) == left != 0:
                await asyncio.sleep(0.05)
        left, quiet = now, 0 if now else quiet + 1
        await asyncio.sleep(0.05)


async def counted(client: Client, messages: int, stream: str = "MEDIA", consumer: str = "cv") -> tuple[int, int]:
    """(in flight, pending) once the consumer counts `messages`: it learns of a message after its publisher's PubAck."""
    async with asyncio.timeout(patience_s()):
        while True:
            info = await client.jetstream().consumer_info(stream, consumer)
            if _left(info) == messages:
                return info.num_ack_pending or 0, info.num_pending or 0


def _left(info: ConsumerInfo) -> int:
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


@contextlib.asynccontextmanager
async def connected(server: NatsServer, identity: str) -> AsyncIterator[Client]:
    client = await bus.connect(server.settings(identity), identity)
    try:
        yield client
    finally:
        await client.close()
