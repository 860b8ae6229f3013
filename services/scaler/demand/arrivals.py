"""The rate at which messages arrive: the mean of a window that a real change cuts short. Pure.

    arrivals = Arrivals(window_s=150)
    arrivals.observe(now, arrived)          # a count that only grows; about once a second
    arrivals.level                          # messages a second

A long window is steady and a short one is quick. Here the long one is used until the last seconds differ from it by
more than chance explains, and then begins anew with them. What chance explains is measured: the index of dispersion,
variance over mean, is 1 for a Poisson stream, which is the least that is reckoned with, and some tens where work comes
in bursts.
"""

from __future__ import annotations

import math
from bisect import bisect_right

# What counts as the last moments.
SHORT_S = 15.0
# Standard deviations that make a change real.
CHANGE = 3.0
# Of a few messages in a moment nothing follows.
LEAST_SPAN_S = 5.0
MOST_DISPERSION = 60.0
MEMORY = 0.9


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
        first = self._count_at(start)
        self.level = (arrived - first) / max(self.span_s, LEAST_SPAN_S)
        if self.span_s > 1.5 * SHORT_S and self._is_changed(now, arrived, start, first):
            self._changed = now - SHORT_S
            self.span_s = SHORT_S
            self.level = (arrived - self._count_at(self._changed)) / SHORT_S

    def _is_changed(self, now: float, arrived: int, start: float, first: float) -> bool:
        middle = self._count_at(now - SHORT_S)
        before = (middle - first) / (now - SHORT_S - start)
        # Even of nothing, one message may come by chance.
        usual = max(before, 0.5 / SHORT_S)
        deviation = (arrived - middle) / SHORT_S - before
        if now >= self._measured + SHORT_S:
            self._measured = now
            seen = deviation * deviation * SHORT_S / usual
            self.dispersion = min(MOST_DISPERSION, max(1.0, MEMORY * self.dispersion + (1 - MEMORY) * seen))
        return abs(deviation) > CHANGE * math.sqrt(self.dispersion * usual / SHORT_S)

    def _count_at(self, time: float) -> float:
        """Between two looks, however far apart, messages are taken to have come evenly."""
        times, counts = self._times, self._counts
        after = bisect_right(times, time)
        if after in (0, len(times)):
            return counts[max(0, after - 1)]
        share = (time - times[after - 1]) / (times[after] - times[after - 1])
        return counts[after - 1] + share * (counts[after] - counts[after - 1])
