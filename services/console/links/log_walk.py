"""A walk through what a stream holds on one subject, in stored order, without a consumer."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator

from shared.bus.direct import Stored
from shared.bus.log import Log


async def walk(log: Log, subject: str, begin: dt.datetime | int) -> AsyncGenerator[Stored, None]:
    """Yield each message from a time or a sequence on, until there are no more. Raises as `Log.read` does."""
    found = await (log.read(subject, begin) if isinstance(begin, int) else log.since(subject, begin))
    while found:
        for stored in found:
            yield stored
        found = await log.read(subject, found[-1].seq + 1)
