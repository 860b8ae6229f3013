"""Video that crosses the bus while a test looks on: stored, worked off by cv, and counted."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from tests.waiting import PATIENCE_S
from tidegate.demo.report import Tally, read_back, tally


async def stored(admin: Client, segments: int) -> None:
    """Wait until MEDIA has so many."""
    async with asyncio.timeout(3 * PATIENCE_S):
        while (await admin.jetstream().stream_info("MEDIA")).state.messages < segments:
            await asyncio.sleep(0.2)


async def worked_off(admin: Client) -> None:
    """Wait until cv has nothing left, and nothing in hand."""
    async with asyncio.timeout(3 * PATIENCE_S):
        while True:
            info = await admin.jetstream().consumer_info("MEDIA", "cv")
            if not info.num_pending and not info.num_ack_pending:
                return
            await asyncio.sleep(0.2)


async def counted(admin: Client) -> Tally:
    """What became of each segment."""
    run = await read_back(admin)
    return tally(run.segments, (s.event.segment.seq for s in run.detections), run.dead, run.settled)
