"""Common ticks of the clock, for periodic work of little weight: all processes of a machine do it at the same moment.

    await tick(1.0)         # until about the next whole second

A machine at rest then wakes once for all of it, and so does its NATS server.
"""

from __future__ import annotations

import asyncio
import time


def until_tick(every_s: float, now: float, closest: float = 0.25) -> float:
    """Return the seconds from `now`, Unix seconds, to the next multiple of `every_s`. Pure.

    closest: how near it may be, in intervals. It is at most one interval later than that.
    """
    # The clocks of timers and of the calendar differ a little: a tick must not come twice.
    return every_s - (now + every_s * closest) % every_s + every_s * closest


async def tick(every_s: float) -> None:
    """Wait for the next tick, between a quarter and five quarters of `every_s` from now."""
    await asyncio.sleep(until_tick(every_s, time.time()))
