"""Loads a model, and reports `loading` meanwhile: a replica that warms up is neither idle nor stuck."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from nats.aio.client import Client

from shared.contract import names
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.problems import LONGEST
from shared.runtime.redact import redact
from shared.runtime.tasks import end, unless
from shared.runtime.telemetry import Health, logger

T = TypeVar("T")

# Enough for gigabytes of weights over a slow network. A longer load is a hang: `/healthz` fails, and the supervisor
# starts another process.
LOAD_S = 15 * 60.0
_BEAT_S = 1.0
_LOADING = "loading the model"


async def load(
    client: Client,
    service: str,
    replica: str,
    health: Health,
    loader: Callable[[], T],
    stop: asyncio.Event,
    *,
    missing: Callable[[], str | None] = lambda: None,
) -> T | None:
    """Run `loader()` in a thread, once `missing()` gives no reason to wait; return None once `stop` is set.

    Meanwhile heartbeats have the state `loading`, and `/readyz` fails while `/healthz` passes, for at most LOAD_S.
    """
    async with saying(client, service, replica, health), beating(health):
        return await unless(stop, _load(health, loader, missing))


async def _load(health: Health, loader: Callable[[], T], missing: Callable[[], str | None]) -> T:
    health.ready = _LOADING
    while reason := await asyncio.to_thread(missing):
        if health.ready == _LOADING:
            logger("loading").info("waits for the model", reason=reason)
        health.ready = reason
        await asyncio.sleep(_BEAT_S)
    health.ready = _LOADING
    return await asyncio.to_thread(loader)


@contextlib.asynccontextmanager
async def beating(health: Health, limit_s: float = LOAD_S) -> AsyncIterator[None]:
    """Have `/healthz` pass until the end of the block, for at most `limit_s`."""
    task = asyncio.create_task(_beat(health, limit_s))
    try:
        yield
    finally:
        await end(task)


async def _beat(health: Health, limit_s: float) -> None:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        health.beat()
        await asyncio.sleep(_BEAT_S)


@contextlib.asynccontextmanager
async def saying(client: Client, service: str, replica: str, health: Health) -> AsyncIterator[None]:
    """Send `loading` heartbeats, with the reason of `/readyz`, until the end of the block."""
    task = asyncio.create_task(_say(client, service, replica, health))
    try:
        yield
    finally:
        await end(task)


async def _say(client: Client, service: str, replica: str, health: Health) -> None:
    started = time.monotonic()
    while True:
        beat = WorkerStats(
            service=service,
            replica=replica,
            pid=os.getpid(),
            state="loading",
            model="",
            uptime_s=time.monotonic() - started,
            in_flight=0,
            processed=0,
            failed=0,
            items=0,
            busy_s=0.0,
            working_s=0.0,
            reason=redact(health.ready or "", LONGEST),
        )
        if client.is_connected:
            await client.publish(names.stats(service, replica), stats.encode(beat))
        await asyncio.sleep(stats.INTERVAL_S)
