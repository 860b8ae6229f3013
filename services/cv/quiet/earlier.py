"""Finds the segment before one in which something new is seen: it may hold the first moment of it.

Whoever said something of it may have been another replica. So it is judged again here, by its own pictures: what equals
a look was said to be unchanged.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.bus.direct import Stored
from shared.contract import deadletters, names
from shared.contract.segment import Segment, from_message
from shared.runtime.errors import BadSegment

# It was stored about its own length before the next one, at most so many lengths; where a camera's segments came all at
# once, just before.
_WITHIN = (1.25, 0.05, 3.0)
_SLACK_S = (0.25, 0.0, 2.0)
# Of a camera's segments so many are looked at from there on: replays may lie between, and what another ingest had.
_MOST_READS = 8


class Earlier(NamedTuple):
    """A segment of MEDIA. origin: as its result's id has it."""

    head: Segment
    seq: int
    origin: str
    payload: bytes


async def before(client: Client, head: Segment, seq: int, stored_at: float) -> Earlier | None:
    """The segment before `head`, which is message `seq` of MEDIA and was stored at `stored_at`, in Unix seconds.

    None where it is not there any more, or never was. Raises nats.errors.Error or TimeoutError if the server does not
    answer.
    """
    for lengths, slack_s in zip(_WITHIN, _SLACK_S, strict=True):
        since = stored_at - lengths * head.duration - slack_s
        with contextlib.suppress(NotFoundError):
            if found := await _from(client, head, seq, dt.datetime.fromtimestamp(since, dt.UTC)):
                return found
    return None


async def _from(client: Client, head: Segment, seq: int, since: dt.datetime) -> Earlier | None:
    """The same, if it is among the first that were stored since then. Raises NotFoundError where there are no more."""
    subject = names.media(head.camera)
    found = await direct.get(client, names.MEDIA, subject=subject, since=since)
    for _ in range(_MOST_READS):
        if found.seq >= seq:
            return None
        if (part := _read(found)) is not None and (part.epoch, part.n) == (head.epoch, head.n - 1):
            origin = deadletters.origin(names.MEDIA, found.seq, found.headers)
            return Earlier(part, found.seq, origin, found.data)
        found = await direct.get(client, names.MEDIA, subject=subject, seq=found.seq + 1)
    return None


def _read(stored: Stored) -> Segment | None:
    try:
        return None if deadletters.REPLAY_OF in stored.headers else from_message(stored.subject, stored.headers)
    except BadSegment:
        return None
