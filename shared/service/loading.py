"""Load a model, and say so meanwhile: a replica that warms up is neither idle nor stuck."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from nats.aio.client import Client

from shared.contract import names, stats
from shared.contract.stats import WorkerStats
from shared.runtime.tasks import end, unless
from shared.runtime.telemetry import Health

T = TypeVar("T")


async def load(
    client: Client, service: str, replica: str, health: Health, loader: Callable[[], T], stop: asyncio.Event
) -> T | None:
    """Run `loader()` in a thread, and give up with None once `stop` is set.

    Meanwhile heartbeats say `loading`, and `/readyz` fails while `/healthz` does not.
    """
    health.ready = "loading the model"
    async with saying(client, service, replica, health):
        return await unless(stop, asyncio.to_thread(loader))


@contextlib.asynccontextmanager
async def saying(client: Client, service: str, replica: str, health: Health) -> AsyncIterator[None]:
    """Send heartbeats that say `loading`, until the block is left."""
    task = asyncio.create_task(_say(client, service, replica, health))
    try:
        yield
    finally:
        await end(task)


async def _say(client: Client, service: str, replica: str, health: Health) -> None:
    started = time.monotonic()
    while True:
        health.beat()
        beat = WorkerStats(
            service=service,
            replica=replica,
            pid=os.getpid(),
            state="loading",
            model="",
            uptime_s=time.monotonic() - started,
            held=0,
            processed=0,
            failed=0,
            items=0,
            busy_s=0.0,
            working_s=0.0,
        )
        if client.is_connected:
            await client.publish(names.stats(service, replica), stats.encode(beat))
        await asyncio.sleep(stats.INTERVAL_S)
