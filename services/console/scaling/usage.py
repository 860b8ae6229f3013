"""The messages of the stream USAGE, as a simulation reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from services.console.links.log_walk import walk
from shared.bus.log import Log
from shared.contract import names
from shared.contract.questions.whatif import UsageLine
from shared.runtime.errors import BusError

_NO_STREAM = 503


async def read_usage(client: Client, since: dt.datetime) -> AsyncGenerator[UsageLine, None]:
    """Read the messages stored since then, by direct get. Raises BusError if there is no such stream, or no answer."""
    try:
        async with Log(client, names.USAGE) as log:
            async for stored in walk(log, names.usage("*"), since):
                yield UsageLine(subject=stored.subject, stored_at=stored.time.timestamp(), data=stored.data)
    except APIError as e:
        if e.code == _NO_STREAM:
            raise BusError("stream USAGE is missing: run 'tidegate setup'") from e
        raise BusError(f"the stream USAGE can't be read: {e}") from e
    except (TimeoutError, nats.errors.Error) as e:
        raise BusError("the stream USAGE can't be read, as the server does not answer: try again in a moment") from e
