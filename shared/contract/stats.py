"""A worker's heartbeat on `scale.<service>.<replica>`, once a second. The scaler and the views read it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

INTERVAL_S = 1.0
# No counter gets this far. Sums of what is below it stay numbers that JSON and metrics can write.
MOST_COUNT = 1e15

Count = Annotated[int, Meta(ge=0, le=int(MOST_COUNT))]
Seconds = Annotated[float, Meta(ge=0, le=MOST_COUNT)]
Name = Annotated[str, Meta(max_length=256)]


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the process started; whoever reads them computes the rates.

    held: messages in hand. processed, failed: messages. items: frames, images or jobs. busy_s: seconds in which
    the device computed. working_s: seconds with at least one message in hand, so that processed / working_s is the rate
    of a replica that has work.
    """

    service: Name
    replica: Name
    pid: Count
    state: Literal["loading", "ready", "draining"]
    model: Name
    uptime_s: Seconds
    held: Count
    processed: Count
    failed: Count
    items: Count
    busy_s: Seconds
    working_s: Seconds


def encode(stats: WorkerStats) -> bytes:
    return msgspec.json.encode(stats)


def decode(data: bytes) -> WorkerStats:
    """Raises msgspec.DecodeError."""
    try:
        return msgspec.json.decode(data, type=WorkerStats)
    except (UnicodeDecodeError, RecursionError) as e:
        raise msgspec.DecodeError(str(e)) from e
