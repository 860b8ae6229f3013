"""What a policy was told in the last hour, as bytes, so that another scaler can be told the same. Pure.

    history = History()
    history.add(observation)                           # about once a second
    data = history.packed(monotonic, wall)
    observations = unpacked(data, monotonic, wall)     # on another machine, later; raises Unreadable

A policy is a function of what it was told. So what it has learned is kept without keeping it: whoever is told the same
comes to the same, and may be of another release.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from services.scaler.demand.observation import Observation, Workers
from shared.runtime.errors import TidegateError

# The forecaster's memory, which is the longest.
KEPT_S = 3600.0
# So many in an hour, at most: some more than one a second.
MOST = 5000
# No service has more: as many as are heard.
MOST_REPLICAS = 1000
# Far more than an hour takes, unpacked.
MOST_BYTES = 1024 * 1024

# What is small packs well, so rows say how they differ from the one before: in milliseconds and arrived; waiting, in
# work, anew; where workers are heard ready and loading, and what differs in processed and working milliseconds.
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**50)]
_Change: TypeAlias = Annotated[int, Meta(ge=-(2**50), le=2**50)]
_Replicas: TypeAlias = Annotated[int, Meta(ge=0, le=MOST_REPLICAS)]
_Row: TypeAlias = tuple[_Count, _Change, _Count, _Count, bool, tuple[_Replicas, _Replicas, float, _Change] | None]


class Unreadable(TidegateError):
    """Bytes that are no history."""


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """at: Unix seconds of the last row."""

    at: float
    rows: list[_Row]


class History:
    """See the module."""

    def __init__(self, observations: Iterable[Observation] = (), most: int = MOST) -> None:
        self._kept: deque[Observation] = deque(observations, most)

    @property
    def observations(self) -> list[Observation]:
        """All that are kept, the oldest first."""
        return list(self._kept)

    def add(self, o: Observation) -> None:
        """Keep an observation. Times must not step back."""
        kept = self._kept
        kept.append(o)
        while kept[0].time < o.time - KEPT_S:
            kept.popleft()

    def packed(self, monotonic: float, wall: float) -> bytes:
        """The history as bytes. monotonic, wall: the time now, by the observations' clock and as Unix seconds."""
        rows: list[_Row] = []
        ms = arrived = working_ms = 0
        processed = 0.0
        for o in self._kept:
            now, fleet = round(o.time * 1000), None
            if o.fleet:
                working = round(o.fleet.working_s * 1000)
                fleet = (o.fleet.ready, o.fleet.loading, o.fleet.processed - processed, working - working_ms)
                processed, working_ms = o.fleet.processed, working
            rows.append((now - ms if rows else 0, o.arrived - arrived, o.waiting, o.in_work, o.anew, fleet))
            ms, arrived = now, o.arrived
        at = wall - (monotonic - ms / 1000) if rows else wall
        return zlib.compress(msgspec.msgpack.encode(_Packed(at, rows)))


def unpacked(data: bytes, monotonic: float, wall: float) -> list[Observation]:
    """What was packed, by this machine's clock; what is older than an hour is left out. Raises Unreadable."""
    try:
        packed = msgspec.msgpack.decode(zlib.decompressobj().decompress(data, MOST_BYTES), type=_Packed)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as e:
        raise Unreadable(f"no history: {e}") from e
    # A clock that is behind the other's would have the past be to come.
    time = monotonic - max(0.0, wall - packed.at) - sum(row[0] for row in packed.rows[1:]) / 1000
    found: list[Observation] = []
    arrived = working_ms = 0
    processed = 0.0
    for i, (ms, more, waiting, in_work, anew, fleet) in enumerate(packed.rows):
        time += ms / 1000 if i else 0.0
        arrived += more
        workers = None
        if fleet:
            ready, loading, done, worked_ms = fleet
            processed, working_ms = processed + done, working_ms + worked_ms
            if not (math.isfinite(processed) and processed >= 0 and working_ms >= 0):
                raise Unreadable("no history: workers have done less than nothing")
            workers = Workers(ready=ready, loading=loading, processed=processed, working_s=working_ms / 1000)
        if arrived < 0 or len(found) > MOST:
            raise Unreadable("no history: less than nothing has arrived, or more was seen than in an hour")
        if time >= monotonic - KEPT_S:
            found.append(
                Observation(time=time, arrived=arrived, waiting=waiting, in_work=in_work, fleet=workers, anew=anew)
            )
    return found
