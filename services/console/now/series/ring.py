"""Series of each service for the last hour, day and week, in bounded memory. Pure.

Points cover 5 s for an hour, a minute for a day, ten minutes for a week: 3168 points of each of 14 series, 180 kB a
service. A point is the mean of a rate or share, and the maximum of a level, so that no peak is lost.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

STEP_S = 5.0


class Tier(NamedTuple):
    """A number of points, each of `step_s`."""

    step_s: float
    points: int

    @property
    def span_s(self) -> float:
        return self.step_s * self.points


TIERS = (Tier(STEP_S, 720), Tier(60.0, 1440), Tier(600.0, 1008))
# The longest tier's length.
LONGEST_S = TIERS[-1].span_s


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A service at one time; None: unknown.

    arriving, clearing: messages a second. age_s: of the oldest that waits. pending, in_flight: messages. wanted, ready,
    warming: replicas. busy, idle: ready replicas with and without a message in flight. cost: an hour. deferred:
    deferred frames a second. left_out: their share. made_good: backfilled segments a second.
    """

    arriving: float | None = None
    clearing: float | None = None
    age_s: float | None = None
    pending: float | None = None
    in_flight: float | None = None
    wanted: float | None = None
    ready: float | None = None
    warming: float | None = None
    busy: float | None = None
    idle: float | None = None
    cost: float | None = None
    deferred: float | None = None
    left_out: float | None = None
    made_good: float | None = None


SERIES = Sample.__struct_fields__
# A point of these is the maximum of its step; of all others, the mean.
PILES = frozenset({"age_s", "pending", "in_flight", "wanted", "warming"})


def fold(series: str, values: Iterable[float]) -> float | None:
    """Return one value for several: a point of the series. None if there are none."""
    present = [value for value in values if not math.isnan(value)]
    if not present:
        return None
    return max(present) if series in PILES else math.fsum(present) / len(present)


class _TierBuffer:
    """One service in one tier: a point for each step; its time determines its place."""

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._steps = array("q", [-1]) * tier.points
        self._values = {series: array("f", [math.nan]) * tier.points for series in SERIES}
        self._parts: dict[str, list[float]] = {series: [] for series in SERIES}
        self._step = -1

    def add(self, values: dict[str, float], at: float) -> None:
        step = int(at // self._tier.step_s)
        if step != self._step:
            self._parts = {series: [] for series in SERIES}
            self._step = step
        place = step % self._tier.points
        self._steps[place] = step
        for series, parts in self._parts.items():
            parts.append(values[series])
            # Bound the memory if the clock is set back repeatedly.
            del parts[:-1000]
            folded = fold(series, parts)
            self._values[series][place] = math.nan if folded is None else folded

    def read(self, series: str, since: float, until: float) -> list[tuple[float, float]]:
        """Return (time, value) of each known point in [since, until)."""
        # If the clock was set back, skip points of later times.
        first = max(math.ceil(since / self._tier.step_s), self._step - self._tier.points + 1)
        last = min(math.ceil(until / self._tier.step_s) - 1, self._step)
        found = []
        for step in range(first, last + 1):
            place = step % self._tier.points
            if self._steps[place] == step and not math.isnan(value := self._values[series][place]):
                found.append((step * self._tier.step_s, value))
        return found


class Ring:
    """See the module. services: whose samples are stored; others are dropped."""

    def __init__(self, services: Iterable[str]) -> None:
        self._buffers = {service: [_TierBuffer(tier) for tier in TIERS] for service in services}
        self.began: float | None = None

    @property
    def services(self) -> list[str]:
        return list(self._buffers)

    def add(self, service: str, sample: Sample, at: float) -> None:
        """Add a sample. at: Unix seconds. If the clock was set back, new samples replace the old."""
        if service not in self._buffers:
            return
        self.began = at if self.began is None else self.began
        values = {s: math.nan if (v := getattr(sample, s)) is None else float(v) for s in SERIES}
        for buffer in self._buffers[service]:
            buffer.add(values, at)

    def reaches(self, now: float) -> float | None:
        """Return its earliest time; None if nothing was added."""
        return None if self.began is None else max(self.began, now - LONGEST_S)

    def tier(self, since: float, step_s: float, now: float) -> Tier:
        """Return the tier that reaches back to `since`, less a point, and has the longest steps within `step_s`."""
        reaching = [tier for tier in TIERS if since >= now - tier.span_s - tier.step_s] or [TIERS[-1]]
        return max((t for t in reaching if t.step_s <= step_s), key=lambda t: t.step_s, default=reaching[0])

    def read(
        self, service: str, since: float, until: float, step_s: float, tier: Tier
    ) -> dict[str, list[float | None]]:
        """Return each series by name: a value for each `step_s` in [since, until); None: unknown.

        tier: one whose points are no longer than that.
        """
        points = max(0, math.ceil((until - since) / step_s))
        buffer = self._buffers[service][TIERS.index(tier)]
        found: dict[str, list[float | None]] = {}
        for series in SERIES:
            parts: list[list[float]] = [[] for _ in range(points)]
            for time, value in buffer.read(series, since, until):
                parts[min(points - 1, int((time - since) / step_s))].append(value)
            found[series] = [fold(series, part) for part in parts]
        return found
