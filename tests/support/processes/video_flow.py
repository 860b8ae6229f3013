"""Video that crosses the bus during a test: stored, processed by cv, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from tests.support.waiting import patience_s
from tidegate.demo.report import Tally, read_back, tally


async def stored(admin: Client, segments: int) -> None:
    """Wait until MEDIA has that many segments."""

    async def there() -> bool:
        return (await admin.jetstream().stream_info("MEDIA")).state.messages >= segments

    await _until(there)


async def until_processed(admin: Client) -> None:
    """Wait until cv has nothing pending, and nothing in flight."""

    async def done() -> bool:
        info = await admin.jetstream().consumer_info("MEDIA", "cv")
        return not info.num_pending and not info.num_ack_pending

    await _until(done)


async def counted(admin: Client) -> Tally:
    """The outcome of each segment."""
    run = await read_back(admin)
    return tally(run.segments, (s.event.segment.seq for s in run.detections), run.dead, run.settled)


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    """After the kill of a server nobody answers until another leads: repeat the request."""
    async with asyncio.timeout(3 * patience_s()):
        while True:
            try:
                if await true():
                    return
            except (nats.errors.Error, APIError):
                pass
            await asyncio.sleep(0.2)
