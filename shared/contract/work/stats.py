"""A worker's heartbeat on `scale.<service>.<replica>`, once a second. The scaler and the views read it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

INTERVAL_S = 1.0
# No counter gets this far. Sums of smaller values stay numbers that JSON and metrics can write.
MOST_COUNT = 1e15

Count = Annotated[int, Meta(ge=0, le=int(MOST_COUNT))]
Seconds = Annotated[float, Meta(ge=0, le=MOST_COUNT)]
Name = Annotated[str, Meta(max_length=256)]


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the process started; readers compute the rates.

    in_flight: messages in flight. processed, failed: messages. items: frames, images or jobs. busy_s: seconds in which
    the device computed. working_s: seconds with at least one message in flight, so processed / working_s is the rate of
    a busy replica. Backfills count only in busy_s and items.

    reason: why a loading worker waits; empty once it works. device: where the model runs, such as cpu; empty if the
    service does not report it.

    wanted_s, work_s: replica seconds of the processed messages by measured costs, with all wanted frames, and with the
    analysed ones; 0 if a service's work is not degradable. frames_wanted, frames_analysed: their frames. frames_never:
    deferred frames that no replica will analyse any more, as their backfill was lost or their service has none.
    backfilled: messages that were backfilled, and backfilling_s: seconds of that.
    """

    service: Name
    replica: Name
    pid: Count
    state: Literal["loading", "ready", "draining"]
    model: Name
    uptime_s: Seconds
    in_flight: Count = msgspec.field(name="held")
    processed: Count
    failed: Count
    items: Count
    busy_s: Seconds
    working_s: Seconds
    wanted_s: Seconds = 0.0
    work_s: Seconds = 0.0
    frames_wanted: Count = 0
    frames_analysed: Count = msgspec.field(default=0, name="frames_looked")
    frames_never: Count = 0
    backfilled: Count = 0
    backfilling_s: Seconds = 0.0
    reason: Annotated[str, Meta(max_length=1024)] = ""
    device: Name = ""


def encode(stats: WorkerStats) -> bytes:
    return msgspec.json.encode(stats)


def decode(data: bytes) -> WorkerStats:
    """Decode a heartbeat. Raises msgspec.DecodeError."""
    try:
        return msgspec.json.decode(data, type=WorkerStats)
    except (UnicodeDecodeError, RecursionError) as e:
        raise msgspec.DecodeError(str(e)) from e
