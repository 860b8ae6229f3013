"""How a process that is told to go parts with what it has in hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from nats.aio.client import Client

from shared.runtime.tasks import end
from shared.runtime.telemetry import logger
from shared.worker.in_flight import H, InFlight


async def drain(
    client: Client,
    in_flight: InFlight[H],
    *,
    until: float,
    working: Callable[[], Iterable[asyncio.Task[Any]]],
    flush_s: int = 2,
) -> int:
    """Let what is in hand be finished, end `working`, hand back the rest, flush; return how much was handed back.

    Nothing may be pulled any more. until: the deadline, by the monotonic clock. working: the tasks that finish what is
    in hand, asked for at the deadline. flush_s: how long the server may take to read the last answers.
    """
    try:
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            await in_flight.until(lambda: not in_flight)
    except TimeoutError:
        pass
    await end(*working())
    left = list(in_flight)
    for delivery in left:
        await in_flight.hand_back(delivery)
    try:
        await client.flush(timeout=flush_s)
    except Exception as e:  # the server is gone: what we said may be lost, and comes again
        logger("drain").warning("the last answers may be lost: their messages are delivered again", error=repr(e))
    return len(left)
