"""The drain of a stopping process: finish or hand back the messages in flight."""

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
    """Let the messages in flight finish, end `working`, hand back the rest, flush; return how many were handed back.

    Pulling must have stopped. until: the deadline, by the monotonic clock. working: returns the tasks that finish the
    messages; called at the deadline. flush_s: how long the server may take to read the last answers.
    """
    try:
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            await in_flight.until_empty()
    except TimeoutError:
        pass
    await end(*working())
    left = list(in_flight)
    for delivery in left:
        await in_flight.hand_back(delivery)
    try:
        await client.flush(timeout=flush_s)
    except Exception as e:  # the server is away: the answers may be lost, and their messages come again
        logger("drain").warning("the last answers may be lost: their messages are delivered again", error=repr(e))
    return len(left)
