"""How each service was in the last hour, day and week, in memory of a bounded size. Pure.

ring = Ring(["cv", "embed"])
ring.add("cv", Sample(arriving=12.0, pending=3), at)          # Unix seconds, every few seconds
ring.read("cv", since, until, step_s, ring.tier(since, step_s, now))

An hour is kept by 5 s, a day by the minute, a week by ten minutes: 3168 points of each of 14 series, 180 kB a service.
Of what a point stands for, rates and shares are the mean, and what piles up is the most, so that no peak is lost.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

STEP_S = 5.0


class Tier(NamedTuple):
    """So many points, each of `step_s`."""

    step_s: float
    points: int

    @property
    def span_s(self) -> float:
        return self.step_s * self.points


TIERS = (Tier(STEP_S, 720), Tier(60.0, 1440), Tier(600.0, 1008))
# What lies further back than any tier.
LONGEST_S = TIERS[-1].span_s


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A service at one time; None is what is not known.

    arriving, clearing: messages a second. age_s: of the oldest that waits. pending, in_flight: messages. wanted, ready,
    warming: replicas. busy, idle: replicas that had a message in hand, or were ready without. cost: an hour. deferred:
    frames a second that were left out at first. left_out: their share. made_good: segments a second.
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
# Of these a point is the most of what it stands for, and of all others the mean.
PILES = frozenset({"age_s", "pending", "in_flight", "wanted", "warming"})


def fold(series: str, values: Iterable[float]) -> float | None:
    """One value for several: what a point of a series is that stands for all of them. None of none."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None
    return max(known) if series in PILES else math.fsum(known) / len(known)


class _Kept:
    """One service in one tier: a point for each step, in the place that its time gives it."""

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
            # A clock that is set back again and again would fill the memory.
            del parts[:-1000]
            folded = fold(series, parts)
            self._values[series][place] = math.nan if folded is None else folded

    def read(self, series: str, since: float, until: float) -> list[tuple[float, float]]:
        """(time, value) of each point from `since` on and before `until` of which something is known."""
        # Where the clock was set back, what was written for later says nothing.
        first = max(math.ceil(since / self._tier.step_s), self._step - self._tier.points + 1)
        last = min(math.ceil(until / self._tier.step_s) - 1, self._step)
        found = []
        for step in range(first, last + 1):
            place = step % self._tier.points
            if self._steps[place] == step and not math.isnan(value := self._values[series][place]):
                found.append((step * self._tier.step_s, value))
        return found


class Ring:
    """See the module. services: whose samples are kept; those of others are dropped."""

    def __init__(self, services: Iterable[str]) -> None:
        self._kept = {service: [_Kept(tier) for tier in TIERS] for service in services}
        self.began: float | None = None

    @property
    def services(self) -> list[str]:
        return list(self._kept)

    def add(self, service: str, sample: Sample, at: float) -> None:
        """at: Unix seconds. Where the clock was set back, what it writes anew takes the place of what was."""
        if service not in self._kept:
            return
        self.began = at if self.began is None else self.began
        values = {s: math.nan if (v := getattr(sample, s)) is None else float(v) for s in SERIES}
        for kept in self._kept[service]:
            kept.add(values, at)

    def reaches(self, now: float) -> float | None:
        """How far back it goes; None where nothing was added."""
        return None if self.began is None else max(self.began, now - LONGEST_S)

    def tier(self, since: float, step_s: float, now: float) -> Tier:
        """The finest that reaches back to `since`, but for a point, and is no finer than it has to be for the step."""
        reaching = [tier for tier in TIERS if since >= now - tier.span_s - tier.step_s] or [TIERS[-1]]
        return max((t for t in reaching if t.step_s <= step_s), key=lambda t: t.step_s, default=reaching[0])

    def read(
        self, service: str, since: float, until: float, step_s: float, tier: Tier
    ) -> dict[str, list[float | None]]:
        """Each series by name: a value for each `step_s` from `since` on, before `until`. None is what is not known.

        tier: whose points are no longer than that.
        """
        points = max(0, math.ceil((until - since) / step_s))
        kept = self._kept[service][TIERS.index(tier)]
        found: dict[str, list[float | None]] = {}
        for series in SERIES:
            parts: list[list[float]] = [[] for _ in range(points)]
            for time, value in kept.read(series, since, until):
                parts[min(points - 1, int((time - since) / step_s))].append(value)
            found[series] = [fold(series, part) for part in parts]
        return found
