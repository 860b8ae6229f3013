"""Pages of a stream, from its newest message back, without a consumer.

Direct get only reads forward. So ranges of sequences are read one after the other, each long enough for the wanted
messages; a range with too much data is read again in parts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from nats.aio.client import Client

from shared.bus import infos
from shared.bus.direct import Stored
from shared.bus.log import Log

# A page ends after this many bytes read, even if it is not full.
MOST_BYTES = 32 * 1024 * 1024
_PARTS = 4
_LONGEST = 256

T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """found: newest first. next: `before` of the next page; 0: there is none."""

    found: list[T]
    next: int


async def newest(
    client: Client,
    stream: str,
    subject: str,
    select: Callable[[Stored], Awaitable[T | None]],
    *,
    limit: int,
    before: int = 0,
    since: dt.datetime | None = None,
) -> Page[T]:
    """Return up to `limit` items that `select` accepts, from before the sequence `before`; 0: from the newest.

    Raises BusError, nats.errors.Error or TimeoutError.
    """
    state = (await infos.stream(client, stream)).state
    high = min(before - 1, state.last_seq) if before else state.last_seq
    found: list[T] = []
    length, read = limit, 0
    async with Log(client, stream) as log:
        while high >= max(1, state.first_seq) and read < MOST_BYTES:
            low = max(1, state.first_seq, high - length + 1)
            part = await _between(log, subject, low, high)
            if part is None:
                length = max(1, length // 8)
                continue
            read += sum(len(stored.data) for stored in part)
            for stored in reversed(part):
                if since and stored.time < since:
                    return Page(found, 0)
                if (item := await select(stored)) is not None:
                    found.append(item)
                if len(found) == limit:
                    return Page(found, stored.seq if stored.seq > state.first_seq else 0)
            high = low - 1
            length = min(_LONGEST, max(length, limit)) if part else length * 8
    return Page(found, high + 1 if high >= max(1, state.first_seq) else 0)


async def _between(log: Log, subject: str, low: int, high: int) -> list[Stored] | None:
    """Return all messages of a subject from `low` to `high`; None if that is too much for one read."""
    found: list[Stored] = []
    for _ in range(_PARTS):
        part = await log.read(subject, low)
        found += [stored for stored in part if stored.seq <= high]
        if not part or part[-1].seq >= high:
            return found
        low = part[-1].seq + 1
    return found if low == high else None
