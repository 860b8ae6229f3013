"""Finds the segment before one with something new: it may hold its first moment.

Another replica may have published its result. So it is judged again here, by its own pictures: if it matches a
reference, it was published as unchanged.
"""

from __future__ import annotations

from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import APIError

from shared.bus import direct
from shared.bus.direct import Stored
from shared.contract import deadletters, names
from shared.contract.segment import Segment, from_message
from shared.runtime.errors import BadSegment

# Maximum number of a camera's segments to read backwards: replays and another ingest's may lie between.
_MOST_READS = 8


class Earlier(NamedTuple):
    """A segment of MEDIA. origin: as in its result's id."""

    head: Segment
    seq: int
    origin: str
    payload: bytes


async def before(client: Client, head: Segment, seq: int) -> Earlier | None:
    """Return the segment before `head`, which is message `seq` of MEDIA.

    None if it is deleted, or never was, or a nats-server before 2.11 can't find it. Raises nats.errors.Error or
    TimeoutError if the server does not answer.
    """
    subject = names.media(head.camera)
    for _ in range(_MOST_READS):
        try:
            found = await direct.get(client, names.MEDIA, subject=subject, before=seq)
        except APIError:
            return None
        if (part := _read(found)) is not None and (part.epoch, part.n) == (head.epoch, head.n - 1):
            origin = deadletters.origin(names.MEDIA, found.seq, found.headers)
            return Earlier(part, found.seq, origin, found.data)
        seq = found.seq
    return None


def _read(stored: Stored) -> Segment | None:
    try:
        return None if deadletters.REPLAY_OF in stored.headers else from_message(stored.subject, stored.headers)
    except BadSegment:
        return None
