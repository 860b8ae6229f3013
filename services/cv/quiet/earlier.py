"""Finds the segment before one in which something new is seen: it may hold the first moment of it.

Whoever said something of it may have been another replica. So it is judged again here, by its own pictures: what equals
a look was said to be unchanged.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.bus.direct import Stored
from shared.contract import deadletters, names
from shared.contract.segment import Segment, from_message
from shared.runtime.errors import BadSegment

# It was stored this much before the next one, at most, besides its length: seconds.
_SLACK_S = 2.0
# Between the two, a camera's subject holds replays and what another ingest had: so many are passed over.
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
    since = dt.datetime.fromtimestamp(stored_at - 1.5 * head.duration - _SLACK_S, dt.UTC)
    subject = names.media(head.camera)
    try:
        found = await direct.get(client, names.MEDIA, subject=subject, since=since)
        for _ in range(_MOST_READS):
            if found.seq >= seq:
                return None
            if (part := _read(found)) is not None and (part.epoch, part.n) == (head.epoch, head.n - 1):
                origin = deadletters.origin(names.MEDIA, found.seq, found.headers)
                return Earlier(part, found.seq, origin, found.data)
            found = await direct.get(client, names.MEDIA, subject=subject, seq=found.seq + 1)
    except NotFoundError:
        pass
    return None


def _read(stored: Stored) -> Segment | None:
    try:
        return None if deadletters.REPLAY_OF in stored.headers else from_message(stored.subject, stored.headers)
    except BadSegment:
        return None
