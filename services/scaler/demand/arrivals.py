"""The arrival rate: the mean over a window that a significant change shortens. Pure.

A long window is steady and a short one is quick. The long window is used until the last seconds differ from it
significantly; then it restarts with those seconds. Significance is measured by the index of dispersion, variance over
mean: 1 for a Poisson stream, and some tens for bursts.
"""

from __future__ import annotations

import math
from bisect import bisect_right

# Values without another source were chosen on the traces of docs/explanation/scaling.md.

# The last seconds that are tested for a change: one sync of the HPA.
SHORT_S = 15.0
# Test for a change once the window is this many times as long as the last seconds.
MIN_WINDOW_RATIO = 1.5
# A change is significant at this many standard deviations: noise exceeds them in 3 of 1000 tests.
SIGNIFICANT_DEVIATIONS = 3.0
# The minimum interval for a rate: a few messages in a moment prove nothing.
MIN_SPAN_S = 5.0
# The minimum dispersion: that of a Poisson stream, 1.
MIN_DISPERSION = 1.0
# The maximum dispersion, so that a change is still detected after a burst.
MAX_DISPERSION = 60.0
# Each measurement retains this share of the previous dispersion.
DISPERSION_MEMORY = 0.9


class Arrivals:
    """See the module. level: messages a second; span_s: the length of its window."""

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
        """Record the cumulative count of arrivals at `now`, in seconds."""
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
        self.level = (arrived - first) / max(self.span_s, MIN_SPAN_S)
        if self.span_s > MIN_WINDOW_RATIO * SHORT_S and self._is_changed(now, arrived, start, first):
            self._changed = now - SHORT_S
            self.span_s = SHORT_S
            self.level = (arrived - self._count_at(self._changed)) / SHORT_S

    def resume(self, now: float, arrived: int) -> None:
        """Restart after a gap without observations: the arrival times within it are unknown."""
        self._times, self._counts = [now], [arrived]

    def _is_changed(self, now: float, arrived: int, start: float, first: float) -> bool:
        middle = self._count_at(now - SHORT_S)
        before = (middle - first) / (now - SHORT_S - start)
        # Even without earlier arrivals, one message may arrive by chance.
        usual = max(before, 0.5 / SHORT_S)
        deviation = (arrived - middle) / SHORT_S - before
        # Test a change against the dispersion before it: the change itself would inflate that.
        changed = abs(deviation) > SIGNIFICANT_DEVIATIONS * math.sqrt(self.dispersion * usual / SHORT_S)
        if now >= self._measured + SHORT_S:
            self._measured = now
            # A level shift is not noise: count at most the smallest significant deviation.
            seen = min(deviation * deviation * SHORT_S / usual, SIGNIFICANT_DEVIATIONS**2 * self.dispersion)
            mean = DISPERSION_MEMORY * self.dispersion + (1 - DISPERSION_MEMORY) * seen
            self.dispersion = min(MAX_DISPERSION, max(MIN_DISPERSION, mean))
        return changed

    def _count_at(self, time: float) -> float:
        """Return the count at a time, interpolated linearly between two observations."""
        times, counts = self._times, self._counts
        after = bisect_right(times, time)
        if after in (0, len(times)):
            return counts[max(0, after - 1)]
        share = (time - times[after - 1]) / (times[after] - times[after - 1])
        return counts[after - 1] + share * (counts[after] - counts[after - 1])
