"""Series of a service over time: from the ring where it reaches back far enough, else from Prometheus."""

from __future__ import annotations

import datetime as dt
import math
import time
from typing import Literal

import msgspec

from services.console.now.series.prometheus import Prometheus, Unavailable
from services.console.now.series.ring import Ring
from services.console.now.series.time_steps import MOST_POINTS, Span, span
from services.console.web.refused import Refused
from shared.runtime.settings import shown

# A page requests several services together: without a pause each would wait for an unreachable Prometheus.
RETRY_S = 15.0


class HistorySeries(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. since: start of the first point; until: end of the last. step_s: seconds of each.

    source: ring: the console's own observations since `known_since`; prometheus: what it scraped. series: by name, a
    value for each point, null where unknown; see `ring.Sample`. problem: why a needed request to Prometheus failed.
    """

    service: str
    since: dt.datetime
    until: dt.datetime
    step_s: float
    source: Literal["ring", "prometheus"]
    known_since: dt.datetime | None
    series: dict[str, list[float | None]]
    problem: str = ""


class History:
    """See the module. prometheus: None if none is configured."""

    def __init__(self, ring: Ring, prometheus: Prometheus | None, *, cost_per_hour: float = 0.0) -> None:
        self._ring = ring
        self._prometheus = prometheus
        self._cost_per_hour = cost_per_hour
        self._not_before, self._problem = -math.inf, ""

    async def answer(self, service: str, since: str, until: str, step: str) -> HistorySeries:
        """Return the series. since, until, step: as `time_steps.span` parses them. Raises Refused."""
        now = dt.datetime.now(dt.UTC)
        if service not in self._ring.services:
            existing = ", ".join(self._ring.services)
            raise Refused(404, f"there is no service {shown(service)}: there are {existing}")
        period = span(since, until, step, now)
        if not self._prometheus or not self._is_older(period, now):
            return self._of_ring(service, period, now, "")
        if time.monotonic() >= self._not_before:
            try:
                return await self._of_prometheus(self._prometheus, service, period)
            except Unavailable as e:
                self._not_before, self._problem = time.monotonic() + RETRY_S, str(e)
        return self._of_ring(service, period, now, self._problem)

    def _is_older(self, period: Span, now: dt.datetime) -> bool:
        """Whether the period begins more than a step before the ring."""
        began = self._ring.reaches(now.timestamp())
        return began is None or period.since.timestamp() < began - period.step_s

    async def _of_prometheus(self, prometheus: Prometheus, service: str, period: Span) -> HistorySeries:
        first, last = _aligned(period.since, period.until, period.step_s)
        series = await prometheus.read(service, first, last, period.step_s, cost_per_hour=self._cost_per_hour)
        return _series(service, first, last, period.step_s, "prometheus", None, series)

    def _of_ring(self, service: str, period: Span, now: dt.datetime, problem: str) -> HistorySeries:
        at = now.timestamp()
        tier = self._ring.tier(period.since.timestamp(), period.step_s, at)
        step_s = max(period.step_s, tier.step_s)
        first, last = _aligned(period.since, period.until, step_s)
        series = self._ring.read(service, first, last, step_s, tier)
        return _series(service, first, last, step_s, "ring", self._ring.began, series, problem)


def _aligned(since: dt.datetime, until: dt.datetime, step_s: float) -> tuple[float, float]:
    """Align to whole steps: a repeated request then has the same points."""
    first = math.floor(since.timestamp() / step_s) * step_s
    points = min(MOST_POINTS + 1, math.ceil((until.timestamp() - first) / step_s))
    return first, first + points * step_s


def _series(
    service: str,
    first: float,
    last: float,
    step_s: float,
    source: Literal["ring", "prometheus"],
    ring_began: float | None,
    series: dict[str, list[float | None]],
    problem: str = "",
) -> HistorySeries:
    return HistorySeries(
        service=service,
        since=_time(first),
        until=_time(last),
        step_s=step_s,
        source=source,
        known_since=None if ring_began is None else _time(ring_began),
        series={name: [v if v is None else round(v, 4) for v in values] for name, values in series.items()},
        problem=problem,
    )


def _time(unix_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC)
