"""Waits for answers of the console, and tracks of an incident."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from shared.contract.events import PathPoint, SegmentRef, Track, Tracks
from tests.support.waiting import patience_s


async def until_so(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The answer, once it is not empty."""
    async with asyncio.timeout(patience_s()):
        while not (found := await ask()):
            await asyncio.sleep(0.02)
    return found


async def until_listed(client: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    """The cards, once there are `count` and all is read."""

    async def ask() -> list[dict[str, Any]] | None:
        found = (await client.get("incidents")).json()
        return found["incidents"] if found["complete"] and len(found["incidents"]) == count else None

    cards: list[dict[str, Any]] = await until_so(ask)
    return cards


def followed(start: dt.datetime) -> Tracks:
    """A track that is in the incident, and one that is not."""
    path = [
        PathPoint(time=start + dt.timedelta(seconds=n), box=(0.1 * n, 0.2, 0.1 * n + 0.2, 0.8), score=0.9)
        for n in range(3)
    ]
    theirs = [
        Track(
            id=id, state="new", label="person", score=0.9, box=path[-1].box, first=start, last=end, path=path, speed=0.1
        )
        for id, end in (("e.1", path[-1].time), ("e.2", path[-1].time))
    ]
    return Tracks(
        camera="lobby",
        segment=SegmentRef(stream="MEDIA", seq=1, epoch="e", n=0),
        start=start,
        duration=1.0,
        width=1280,
        height=720,
        model="m",
        tracks=theirs,
    )
