"""A worker's heartbeat on `scale.<service>.<replica>`, once a second. The scaler and the views read it."""

from __future__ import annotations

from typing import Literal

import msgspec

INTERVAL_S = 1.0


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the process started; whoever reads them computes the rates.

    held: messages in hand. processed, failed: messages. items: frames, images or jobs. busy_s: seconds in which
    the device computed. working_s: seconds with at least one message in hand, so that processed / working_s is the rate
    of a replica that has work.
    """

    service: str
    replica: str
    pid: int
    state: Literal["loading", "ready", "draining"]
    model: str
    uptime_s: float
    held: int
    processed: int
    failed: int
    items: int
    busy_s: float
    working_s: float


def encode(stats: WorkerStats) -> bytes:
    return msgspec.json.encode(stats)


def decode(data: bytes) -> WorkerStats:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=WorkerStats)
