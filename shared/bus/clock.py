"""The clock of the NATS server, which stamps stored messages: our own may be wrong, or be set.

Example:
    clock = ServerClock()
    clock.note(time.monotonic(), await read(client, "MEDIA", "cv"))
    clock.server(time.monotonic()) - message.stored_at          # seconds since it was stored
"""

from __future__ import annotations

import datetime as dt
import math
import time

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.contract import names

# Samples expire after one to two times this long.
FORGET_S = 60.0
TIMEOUT_S = 2.0


class _Reply(msgspec.Struct, frozen=True):
    ts: dt.datetime


async def read(client: Client, stream: str, consumer: str) -> float:
    """Return the server's time, in Unix seconds: every consumer info has it.

    Raises TimeoutError or nats.errors.Error if it is not in the reply.
    """
    answer = await client.request(names.api("CONSUMER.INFO", stream, consumer), timeout=TIMEOUT_S)
    try:
        return msgspec.json.decode(answer.data, type=_Reply).ts.timestamp()
    except msgspec.DecodeError as e:
        raise nats.errors.Error(f"the server's clock can't be read: {e}") from e


class ServerClock:
    """The server's clock, estimated from its replies or from stored messages, and from our monotonic clock."""

    def __init__(self) -> None:
        # The minimum that ours was ahead by: in the current span of FORGET_S, and in the previous one.
        self._least = self._before = math.inf
        self._until = 0.0

    def note(self, ours: float, server: float) -> None:
        """Add a sample: an event at `server` by the server's clock was here at `ours` by `time.monotonic()`."""
        if ours > self._until:
            self._before, self._least = self._least, math.inf
            self._until = ours + FORGET_S
        self._least = min(self._least, ours - server)

    def server(self, ours: float) -> float:
        """Return the server's time at `ours`, or slightly less; our wall clock, if there is no sample yet."""
        ahead = min(self._least, self._before)
        return ours - ahead if math.isfinite(ahead) else time.time()
