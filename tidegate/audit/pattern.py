"""The pattern of arrivals: day, week, peak, and rises within a cold start. Pure."""

from __future__ import annotations

import datetime as dt
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.simulation.trace import Floats, Trace

HOUR_S, DAY_S = 3600, 86_400
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# An arrival rate below this share of the peak is a lull.
LULL = 0.1


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """week: messages per second by weekday and hour, seven rows of 24; nan where no data exists. days: names of the
    rows. known: share of the time with data. mean: messages per second over the time with data. peak: in the busiest
    step. hour: in the busiest hour. lull: share of the time with data that is below a tenth of the peak.
    """

    week: Floats
    days: tuple[str, ...]
    known: float
    mean: float
    peak: float
    hour: float
    lull: float

    @property
    def peak_over_mean(self) -> float:
        return self.peak / self.mean if self.mean else 0.0


def pattern(trace: Trace, known: NDArray[np.bool_] | None = None, begins: dt.datetime | None = None) -> Pattern:
    """Return the pattern of a trace. known: steps with data. begins: start of the trace; None numbers the days."""
    known = np.ones(len(trace.counts), dtype=np.bool_) if known is None else known
    rates = trace.counts / trace.step_s
    at: Floats = np.arange(len(rates), dtype=np.float64) * np.float64(trace.step_s)
    days, hours = _places(at, begins)
    total, count = np.zeros((7, 24)), np.zeros((7, 24))
    np.add.at(total, (days[known], hours[known]), rates[known])
    np.add.at(count, (days[known], hours[known]), 1)
    week = np.divide(total, count, out=np.full((7, 24), np.nan), where=count > 0)
    per_hour = max(1, round(HOUR_S / trace.step_s))
    sums = np.convolve(rates, np.ones(per_hour), mode="valid") if per_hour < len(rates) else np.array([rates.sum()])
    peak = float(rates.max())
    return Pattern(
        week=week,
        days=DAYS if begins else tuple(f"day {n}" for n in range(1, 8)),
        known=float(known.mean()),
        mean=float(rates[known].mean()),
        peak=peak,
        hour=float(sums.max()) / min(per_hour, len(rates)),
        lull=float((rates[known] < LULL * peak).mean()),
    )


def rises(trace: Trace, service_rate: float, cold_start_s: float) -> int:
    """Count the rises within a cold start that exceed the rate of one replica. Rises do not overlap.

    Means over a cold start are compared, so a single busy second or minute does not count.
    """
    steps = max(1, math.ceil(cold_start_s / trace.step_s))
    if len(trace.counts) < 2 * steps:
        return 0
    total = np.concatenate(([0.0], np.cumsum(trace.counts)))
    means = (total[steps:] - total[:-steps]) / (steps * trace.step_s)
    risen = means[steps:] - means[:-steps] > service_rate
    count, at = 0, 0
    while at < len(risen):
        if risen[at]:
            count += 1
            at += steps
        else:
            at += 1
    return count


def _places(at: Floats, begins: dt.datetime | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (day, hour) of each second after the start. Daylight saving time stays as it is at the start."""
    offset = 0.0
    if begins:
        midnight = begins.replace(hour=0, minute=0, second=0, microsecond=0)
        offset = begins.weekday() * DAY_S + (begins - midnight).total_seconds()
    seconds = at + offset
    return (seconds // DAY_S % 7).astype(np.int64), (seconds // HOUR_S % 24).astype(np.int64)
