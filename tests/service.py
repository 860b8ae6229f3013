"""A service in the test's own process, with its identity's few rights, and waiting for what it has to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from nats.aio.client import Client

from shared import bus
from shared.runtime.telemetry import Health
from tidegate.local.server import NatsServer


@contextlib.asynccontextmanager
async def serving(server: NatsServer, identity: str, run: Any, settings: Any) -> AsyncIterator[Health]:
    """`run` of the service's `__main__`, ready; drained at the end."""
    client = await bus.connect(server.settings(identity), identity)
    health, stop = Health(), asyncio.Event()
    task = asyncio.create_task(run(settings, client, health, stop))
    try:
        async with asyncio.timeout(60):
            while health.ready and not task.done():
                await asyncio.sleep(0.02)
        yield health
    finally:
        stop.set()
        await task
        await client.close()


async def settled(client: Client, stream: str = "MEDIA", consumer: str = "embed") -> None:
    """Wait until nothing is pending and nothing is held."""
    js = client.jetstream()
    async with asyncio.timeout(60):
        while (info := await js.consumer_info(stream, consumer)).num_pending or info.num_ack_pending:
            await asyncio.sleep(0.05)
