"""The clock of the NATS server, which stamps what it stores: our own may be wrong, or be set.

clock = ServerClock()
clock.note(time.monotonic(), await asked(client, "MEDIA", "cv"))
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

# What was learned is forgotten after one to two times this long.
FORGET_S = 60.0
TIMEOUT_S = 2.0


class _Reply(msgspec.Struct, frozen=True):
    ts: dt.datetime


async def asked(client: Client, stream: str, consumer: str) -> float:
    """What the server's clock shows, in Unix seconds: it says so with whatever it says of a consumer.

    Raises TimeoutError or nats.errors.Error where it does not say.
    """
    answer = await client.request(names.api("CONSUMER.INFO", stream, consumer), timeout=TIMEOUT_S)
    try:
        return msgspec.json.decode(answer.data, type=_Reply).ts.timestamp()
    except msgspec.DecodeError as e:
        raise nats.errors.Error(f"the server's clock can't be read: {e}") from e


class ServerClock:
    """What it shows, by what the server said, or when it stored what we read. Of ours the monotonic one counts."""

    def __init__(self) -> None:
        # The least that ours was ahead by: in the current span of FORGET_S, and in the one before.
        self._least = self._before = math.inf
        self._until = 0.0

    def note(self, ours: float, server: float) -> None:
        """What happened at `server` by the server's clock was here at `ours` by `time.monotonic()`."""
        if ours > self._until:
            self._before, self._least = self._least, math.inf
            self._until = ours + FORGET_S
        self._least = min(self._least, ours - server)

    def server(self, ours: float) -> float:
        """What the server's clock shows at `ours`, or a little less; our wall clock, where nothing was noted yet."""
        ahead = min(self._least, self._before)
        return ours - ahead if math.isfinite(ahead) else time.time()
