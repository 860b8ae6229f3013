"""Finds the segment of a camera's main stream that shows an instant, by direct get.

    if found := await main_stream.at(client, "lobby", instant, in_place_of=head):
        found.segment, found.payload

A camera with a substream has both in MEDIA, by the same clock: the substream is analysed, and the main stream has more
pixels. Only the segments decide: so video of any time has the same answer, whatever the settings are now.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.segment import Segment, from_message
from shared.runtime.errors import BadSegment, BusError

# The most by which the clocks of two streams differ, as ingest ensures.
SKEW = dt.timedelta(seconds=0.2)
# The clocks of ingest and the server differ.
SLACK = dt.timedelta(seconds=2)
# Messages and bytes that are read to find one instant: segments that ingest delayed are stored after their neighbours.
MOST_STEPS = 64
MOST_BYTES = 32 * 2**20
_POLL_S = 0.25
# Ratios of width to height that differ less are equal: encoders pad pictures to whole blocks.
_RATIO = 0.03


class MainSegment(NamedTuple):
    """A segment of a main stream. seq: in MEDIA."""

    seq: int
    segment: Segment
    payload: bytes

    @property
    def end(self) -> dt.datetime:
        return self.segment.start + dt.timedelta(seconds=self.segment.duration)

    def offset(self, instant: dt.datetime) -> float:
        """Return the seconds from its first frame to an instant, within the segment."""
        return min(max(0.0, (instant - self.segment.start).total_seconds()), self.segment.duration)


async def at(
    client: Client, camera: str, instant: dt.datetime, *, in_place_of: Segment, patience_s: float = 0.0
) -> MainSegment | None:
    """Return the segment that shows `instant`; None if there is none, or if its pictures have another shape.

    in_place_of: the segment of the substream. Boxes, zones and masks are shares of its width and height. patience_s:
    for a segment that is about to be stored. Raises nats.errors.Error or TimeoutError.
    """
    subject, until = names.main(camera), time.monotonic() + patience_s
    try:
        found = await _next(client, subject, since=instant)
        if found is None or found.segment.start > instant + SKEW:
            # It is not stored yet, or the server's clock is ahead.
            found = await _next(client, subject, since=instant - SLACK)
        steps = size = 0
        while found and found.end <= instant and steps < MOST_STEPS and size < MOST_BYTES:
            if after := await _next(client, subject, seq=found.seq + 1):
                found, steps, size = after, steps + 1, size + len(after.payload)
            elif time.monotonic() < until:
                await asyncio.sleep(_POLL_S)
            else:
                return None
    except BusError:
        # An old server finds nothing by time.
        return None
    shows = found is not None and found.segment.start <= instant + SKEW and found.end > instant
    return found if found and shows and is_alike(found.segment, in_place_of) else None


def is_alike(one: Segment, other: Segment) -> bool:
    """Whether pictures have the same ratio of width to height: then boxes of one fit the other."""
    a, b = one.width * other.height, other.width * one.height
    return abs(a - b) <= _RATIO * max(a, b)


async def _next(
    client: Client, subject: str, *, seq: int | None = None, since: dt.datetime | None = None
) -> MainSegment | None:
    """Return the first segment from a sequence or a time on, if it is among the next few messages."""
    for _ in range(MOST_STEPS):
        try:
            stored = await direct.get(client, names.MEDIA, subject=subject, seq=seq, since=since)
        except NotFoundError:
            return None
        seq, since = stored.seq + 1, None
        try:
            if REPLAY_OF not in stored.headers:
                return MainSegment(stored.seq, from_message(subject, stored.headers), stored.data)
        except BadSegment:
            continue
    return None
