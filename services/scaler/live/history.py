"""A policy's observations of the last hour, as bytes, for replay in another scaler. Pure.

    history = History()
    history.add(observation)                           # about once a second
    data = history.packed(monotonic, wall)
    observations = unpacked(data, monotonic, wall)     # on another machine, later; raises Unreadable

A policy is a function of its observations. So the store needs no learned state: a replay of the same observations gives
the same result, also in another release.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from services.scaler.demand.observation import DeferredSegments, Observation, Workers
from shared.runtime.errors import TidegateError

# The forecaster's memory, which is the longest.
HISTORY_S = 3600.0
# The maximum observations in an hour: some more than one a second.
MOST = 5000
# No service has more: the limit of `heartbeats`.
MOST_REPLICAS = 1000
# Far more than the unpacked size of an hour.
MOST_BYTES = 1024 * 1024

# Small numbers pack well, so a row has differences from the one before: milliseconds and arrived; then pending,
# in_flight and is_new_observer as they are. With workers: ready and loading, and the differences in processed and
# working milliseconds. If reported: the differences in thousandths of work, wanted frames and analysed frames. If
# known: the difference in deferred segments, the number that waits, and the retention of their video in milliseconds.
# Then the difference in frames that are never analysed.
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**50)]
_Change: TypeAlias = Annotated[int, Meta(ge=-(2**50), le=2**50)]
_Replicas: TypeAlias = Annotated[int, Meta(ge=0, le=MOST_REPLICAS)]


class Unreadable(TidegateError):
    """Bytes that are no history."""


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """See above. Rows of older releases end before `work`, `deferred` or `never`."""

    ms: _Count
    more: _Change
    pending: _Count
    in_flight: _Count
    is_new_observer: bool
    fleet: tuple[_Replicas, _Replicas, float, _Change] | None
    work: tuple[_Change, _Change, _Change] | None = None
    deferred: tuple[_Change, _Count, _Count] | None = None
    never: _Change = 0


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """at: Unix seconds of the last row."""

    at: float
    rows: list[_Row]


class History:
    """See the module."""

    def __init__(self, observations: Iterable[Observation] = (), most: int = MOST) -> None:
        self._observations: deque[Observation] = deque(observations, most)

    @property
    def observations(self) -> list[Observation]:
        """All observations, the oldest first."""
        return list(self._observations)

    def add(self, o: Observation) -> None:
        """Add an observation. Times must not step back."""
        observations = self._observations
        observations.append(o)
        while observations[0].time < o.time - HISTORY_S:
            observations.popleft()

    def packed(self, monotonic: float, wall: float) -> bytes:
        """Return the history as bytes. monotonic, wall: now, by the observations' clock and in Unix seconds."""
        rows: list[_Row] = []
        ms = arrived = working_ms = ever = never = 0
        processed = 0.0
        previous = _NOTHING
        for o in self._observations:
            now, fleet, work, deferred, more = round(o.time * 1000), None, None, None, 0
            if o.fleet:
                working = round(o.fleet.working_s * 1000)
                fleet = (o.fleet.ready, o.fleet.loading, o.fleet.processed - processed, working - working_ms)
                processed, working_ms = o.fleet.processed, working
                more, never = round(o.fleet.never) - never, round(o.fleet.never)
                if (sums := _sums(o.fleet)) is not None:
                    work, previous = _difference(sums, previous), sums
            if d := o.deferred:
                deferred, ever = (d.ever - ever, d.waiting, round(d.retention_s * 1000)), d.ever
            counts = o.arrived - arrived, o.pending, o.in_flight
            rows.append(_Row(now - ms if rows else 0, *counts, o.is_new_observer, fleet, work, deferred, more))
            ms, arrived = now, o.arrived
        at = wall - (monotonic - ms / 1000) if rows else wall
        return zlib.compress(msgspec.msgpack.encode(_Packed(at, rows)))


def unpacked(data: bytes, monotonic: float, wall: float) -> list[Observation]:
    """Return the packed observations of the last hour, by this machine's clock. Raises Unreadable."""
    try:
        packed = msgspec.msgpack.decode(zlib.decompressobj().decompress(data, MOST_BYTES), type=_Packed)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as e:
        raise Unreadable(f"no history: {e}") from e
    # If our clock is behind the other's, the past must not lie in the future.
    time = monotonic - max(0.0, wall - packed.at) - sum(row.ms for row in packed.rows[1:]) / 1000
    found: list[Observation] = []
    arrived = working_ms = ever = never = 0
    processed = 0.0
    sums = _NOTHING
    for i, row in enumerate(packed.rows):
        time += row.ms / 1000 if i else 0.0
        arrived += row.more
        workers = None
        if row.fleet:
            ready, loading, done, busy_ms = row.fleet
            processed, working_ms, never = processed + done, working_ms + busy_ms, never + row.never
            if not (math.isfinite(processed) and min(processed, working_ms, never) >= 0):
                raise Unreadable("no history: a count of the workers' messages, seconds or frames is negative")
            workers = Workers(
                ready=ready, loading=loading, processed=processed, working_s=working_ms / 1000, never=float(never)
            )
            if row.work is not None:
                sums = _sum(sums, row.work)
                work, wanted, sampled = (float(each) for each in sums)
                workers = msgspec.structs.replace(workers, work=work / 1000, wanted=wanted, analysed=sampled)
        deferred = None
        if row.deferred:
            ever += row.deferred[0]
            deferred = DeferredSegments(ever=ever, waiting=row.deferred[1], retention_s=row.deferred[2] / 1000)
        if min(arrived, ever) < 0 or len(found) > MOST:
            raise Unreadable(
                "no history: a count of messages is negative, or there are more observations than in an hour"
            )
        if time >= monotonic - HISTORY_S:
            found.append(
                Observation(
                    time=time,
                    arrived=arrived,
                    pending=row.pending,
                    in_flight=row.in_flight,
                    fleet=workers,
                    deferred=deferred,
                    is_new_observer=row.is_new_observer,
                )
            )
    return found


_Sums: TypeAlias = tuple[int, int, int]
_NOTHING: _Sums = (0, 0, 0)


def _sums(fleet: Workers) -> _Sums | None:
    """Return thousandths of work, wanted frames and analysed frames; None if not reported."""
    if fleet.work is None or fleet.wanted is None or fleet.analysed is None:
        return None
    return round(fleet.work * 1000), round(fleet.wanted), round(fleet.analysed)


def _difference(sums: _Sums, before: _Sums) -> _Sums:
    return sums[0] - before[0], sums[1] - before[1], sums[2] - before[2]


def _sum(before: _Sums, more: _Sums) -> _Sums:
    """Return the sums. Raises Unreadable for a negative one."""
    sums = before[0] + more[0], before[1] + more[1], before[2] + more[2]
    if min(sums) < 0:
        raise Unreadable("no history: a count of the workers' frames is negative")
    return sums
