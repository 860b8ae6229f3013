"""The rate at which messages arrive: the mean of a window that a real change cuts short. Pure.

    arrivals = Arrivals(window_s=150)
    arrivals.observe(now, arrived)          # a count that only grows; about once a second
    arrivals.level                          # messages a second

A long window is steady and a short one is quick. Here the long one is used until the last seconds differ from it by
more than chance explains, and then begins anew with them. What chance explains is measured by the index of dispersion,
variance over mean: it is 1 for a Poisson stream, and some tens where work comes in bursts.
"""

from __future__ import annotations

import math
from bisect import bisect_right

import msgspec


class ArrivalsTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Where no other source is named, a value was chosen on the traces of docs/explanation/scaling.md."""

    short_s: float = 15.0
    """A change is looked for in the last seconds, this many: one sync of the HPA."""

    least_window: float = 1.5
    """A change is looked for once the window is this many times as long as the last seconds."""

    significance: float = 3.0
    """A change is real when it is this many standard deviations: chance does that in 3 of 1000 looks."""

    least_span_s: float = 5.0
    """A rate is never taken over less than this long: nothing follows from a few messages in a moment."""

    least_dispersion: float = 1.0
    """Arrivals are never taken to be steadier than a Poisson stream's, whose dispersion is 1."""

    most_dispersion: float = 60.0
    """Arrivals are never taken to be wilder than this, so that a change is still found after a burst."""

    memory: float = 0.9
    """Each measurement leaves this share of the dispersion that was known before."""


TUNING = ArrivalsTuning()


class Arrivals:
    """See the module. level: messages a second; span_s: the window it is made of."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.level = 0.0
        self.span_s = 0.0
        self.dispersion = 1.0
        self._times: list[float] = []
        self._counts: list[int] = []
        self._changed = -math.inf
        self._measured = -math.inf

    def observe(self, now: float, arrived: int) -> None:
        """Take the count of all that have arrived by `now`, in seconds."""
        times = self._times
        times.append(now)
        self._counts.append(arrived)
        if len(times) > 64 and times[len(times) // 2] < now - self.window_s:
            del times[: len(times) // 2 - 1], self._counts[: len(self._counts) // 2 - 1]
        start = max(times[0], now - self.window_s, self._changed)
        self.span_s = now - start
        if self.span_s <= 0:
            return
        short_s = TUNING.short_s
        first = self._count_at(start)
        self.level = (arrived - first) / max(self.span_s, TUNING.least_span_s)
        if self.span_s > TUNING.least_window * short_s and self._is_changed(now, arrived, start, first):
            self._changed = now - short_s
            self.span_s = short_s
            self.level = (arrived - self._count_at(self._changed)) / short_s

    def resume(self, now: float, arrived: int) -> None:
        """Begin anew after a time that nobody has looked: when in it messages came is not known."""
        self._times, self._counts = [now], [arrived]

    def _is_changed(self, now: float, arrived: int, start: float, first: float) -> bool:
        t, short_s = TUNING, TUNING.short_s
        middle = self._count_at(now - short_s)
        before = (middle - first) / (now - short_s - start)
        # Where none came before, one message may still come by chance.
        usual = max(before, 0.5 / short_s)
        deviation = (arrived - middle) / short_s - before
        # A change is judged by what was known before it: it would hide itself in a dispersion that it is part of.
        changed = abs(deviation) > t.significance * math.sqrt(self.dispersion * usual / short_s)
        if now >= self._measured + short_s:
            self._measured = now
            # A change of the level is none of chance: it counts for no more than what would just have been one.
            seen = min(deviation * deviation * short_s / usual, t.significance**2 * self.dispersion)
            mean = t.memory * self.dispersion + (1 - t.memory) * seen
            self.dispersion = min(t.most_dispersion, max(t.least_dispersion, mean))
        return changed

    def _count_at(self, time: float) -> float:
        """The count at a time. Between two looks, however far apart, messages are taken to have come evenly."""
        times, counts = self._times, self._counts
        after = bisect_right(times, time)
        if after in (0, len(times)):
            return counts[max(0, after - 1)]
        share = (time - times[after - 1]) / (times[after] - times[after - 1])
        return counts[after - 1] + share * (counts[after] - counts[after - 1])
