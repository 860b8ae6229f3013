"""What the arrival rate may be when a replica that is asked for now is ready: the forecaster that has been right. Pure.

    forecast = Forecast(horizon_s=67.5, quantile=0.85, period_s=30)
    forecast.observe(now, arrived, level)
    forecast.value(level)        # messages a second that are exceeded in 15 periods of 100

Candidates are simple: the level goes on, with some margin; or, whatever it is now, it comes back to a quantile of the
last hour, which is what bursts do that are over before a replica is ready. Each is judged by what then came, by the
pinball loss of the quantile asked for, with a memory that fades; the best is used. So the headroom is learned: a steady
site earns a margin of a few percent, and a restless one gets what it needs.

Measured on arrival traces of an LLM service, of taxis, and on made-up days, bursts, crowds, ramps and outages, against
each kind of candidate alone, and against extrapolating trends, which earned nothing: docs/explanation/scaling.md has
the table.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

MARGINS = (0.0, 0.02, 0.04, 0.06, 0.09, 0.13, 0.2, 0.35, 0.6, 1.0)
QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
HISTORY_S = 3600.0
# The loss of a candidate fades to half in so many periods.
HALF_LIFE = 60
# Before any was judged.
FIRST_MARGIN = 0.06
JUDGED = 4


class Forecast:
    """See the module. period_s: over which a rate is averaged to judge by; horizon_s: how far ahead."""

    def __init__(self, horizon_s: float, quantile: float, period_s: float) -> None:
        self._horizon_s = horizon_s
        self._quantile = quantile
        self._period_s = period_s
        self._fade = 0.5 ** (1 / HALF_LIFE)
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._due: deque[tuple[float, list[float]]] = deque()
        self._losses = [0.0] * (len(MARGINS) + len(QUANTILES))
        self._judged = 0
        self._best = MARGINS.index(FIRST_MARGIN)
        self._period_ends: float | None = None
        self._count = 0

    def observe(self, now: float, arrived: int, level: float) -> None:
        """`level`: messages a second, as it is now."""
        if self._period_ends is None:
            self._period_ends, self._count = now + self._period_s, arrived
        if now < self._period_ends:
            return
        rate = (arrived - self._count) / (now - self._period_ends + self._period_s)
        self._period_ends, self._count = now + self._period_s, arrived
        self._remember(rate)
        while self._due and self._due[0][0] <= now:
            self._judge(rate, self._due.popleft()[1])
        self._due.append((now + self._horizon_s + self._period_s, self._candidates(level)))

    def value(self, level: float) -> float:
        """The forecast for the horizon, in messages a second."""
        return self._candidate(self._best, level)

    @property
    def name(self) -> str:
        """Of the candidate in use, for people."""
        n = len(MARGINS)
        if self._best >= n:
            return f"{QUANTILES[self._best - n]:.0%} of the last hour's rates are below it"
        return f"the level goes on, and {MARGINS[self._best]:.0%} more"

    def _remember(self, rate: float) -> None:
        self._recent.append(rate)
        insort(self._sorted, rate)
        if len(self._recent) * self._period_s > HISTORY_S:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]

    def _candidates(self, level: float) -> list[float]:
        return [self._candidate(i, level) for i in range(len(self._losses))]

    def _candidate(self, i: int, level: float) -> float:
        n = len(MARGINS)
        if i < n:
            return level * (1 + MARGINS[i])
        if len(self._sorted) < 8:
            return level
        return self._sorted[min(len(self._sorted) - 1, int(QUANTILES[i - n] * len(self._sorted)))]

    def _judge(self, rate: float, candidates: list[float]) -> None:
        q, fade = self._quantile, self._fade
        losses = self._losses
        for i, guess in enumerate(candidates):
            miss = rate - guess
            losses[i] = losses[i] * fade + (q * miss if miss > 0 else (q - 1) * miss)
        self._judged += 1
        if self._judged >= JUDGED:
            self._best = losses.index(min(losses))
