"""Reads the stream USAGE."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus.log import Log
from shared.contract import names
from shared.runtime.errors import BusError
from tidegate.client.used import Book

# Progress: the number of messages read.
Tell = Callable[[int], None]


async def read(client: Client, since: dt.datetime, tell: Tell = lambda count: None, *, camera: str = "") -> Book:
    """Return the messages stored since then. camera: as in `Book`. Raises BusError if there is no such stream."""
    try:
        await client.jetstream().stream_info(names.USAGE)
    except NotFoundError as e:
        raise BusError("stream USAGE is missing: run 'tidegate setup'") from e
    book, count = Book(camera), 0
    async with Log(client, names.USAGE) as log:
        found = await log.since(names.usage("*"), since)
        while found:
            for stored in found:
                book.take(stored.subject, stored.time.timestamp(), stored.data)
            count += len(found)
            tell(count)
            found = await log.read(names.usage("*"), found[-1].seq + 1)
    return book
