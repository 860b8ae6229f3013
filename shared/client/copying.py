"""Whether ALERTS copies EVENTS: nats-server stops for good at a message with which it can't write its own header."""

from __future__ import annotations

import datetime as dt

from nats.aio.client import Client

from shared.bus import direct
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names

# A server that starts, or loses a peer, copies within two minutes.
LATE = dt.timedelta(minutes=5)
_SOURCE = "Nats-Stream-Source"


async def stuck_at(client: Client, now: dt.datetime) -> Stored | None:
    """Return the alert or incident at which the copy stands still; None where it goes on.

    Raises nats.errors.Error or TimeoutError if the server does not answer.
    """
    last = (await client.jetstream().stream_info(names.ALERTS)).state
    copied = await direct.get(client, names.ALERTS, seq=last.last_seq) if last.messages else None
    seq = int(copied.headers[_SOURCE].split()[1]) if copied else 0
    async with Log(client, names.EVENTS) as log:
        found = [one for kind in names.COPIED for one in await log.read(names.event(kind, "*"), seq + 1, most=1)]
    first = min(found, key=lambda one: one.seq, default=None)
    return first if first and first.time < now - LATE else None
