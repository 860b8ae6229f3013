"""A quantile of the arrival rate when a replica requested now is ready, learned from past errors. Pure.

The candidates are simple. Either the level continues, with a margin. Or the rate returns to a quantile of the last
hour's rates, as it does after bursts that end before a replica is ready. Each candidate is scored against the later
rate, by the pinball loss of the requested quantile, with exponential decay. The best candidate is used. So the headroom
is learned: a steady site gets a margin of a few percent, and a bursty one gets more.

docs/adr/0005-demand-forecaster.md has the measurements: each kind of candidate alone, and trends, which gained nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

# Values were chosen on the traces of docs/explanation/scaling.md.

# Candidates: the level continues, with this margin. Each step is about half as large again.
MARGINS = (0.0, 0.02, 0.04, 0.06, 0.09, 0.13, 0.2, 0.35, 0.6, 1.0)
# Candidates: the rate returns to this quantile of the last hour's rates.
QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
# The period of the rates that quantiles are computed over.
HISTORY_S = 3600.0
# A quantile needs this many rates; until then its candidate is the level.
MIN_HISTORY = 8
# The half-life of a candidate's loss, in periods.
HALF_LIFE_PERIODS = 60
# The margin until candidates have been scored. It must be one of MARGINS.
INITIAL_MARGIN = 0.06
# Choose a candidate by its loss after this many scored periods.
MIN_SCORED_PERIODS = 4


class Forecast:
    """See the module. quantile: 0.85 is exceeded in 15 periods of 100.

    horizon_s: of the forecast. period_s: the averaging period of the rates for scoring.
    """

    def __init__(self, horizon_s: float, quantile: float, period_s: float) -> None:
        self._horizon_s = horizon_s
        self._quantile = quantile
        self._period_s = period_s
        self._fade = 0.5 ** (1 / HALF_LIFE_PERIODS)
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._pending: deque[tuple[float, list[float]]] = deque()
        self._losses = [0.0] * (len(MARGINS) + len(QUANTILES))
        self._judged = 0
        self._best = MARGINS.index(INITIAL_MARGIN)
        self._period_ends: float | None = None
        self._count = 0

    def observe(self, now: float, arrived: int, level: float) -> None:
        """Record the cumulative count of arrivals at `now`, and the `level`: messages a second now."""
        if self._period_ends is None:
            self._period_ends, self._count = now + self._period_s, arrived
        if now < self._period_ends:
            return
        rate = (arrived - self._count) / (now - self._period_ends + self._period_s)
        self._period_ends, self._count = now + self._period_s, arrived
        self._remember(rate)
        while self._pending and self._pending[0][0] <= now:
            self._judge(rate, self._pending.popleft()[1])
        self._pending.append((now + self._horizon_s + self._period_s, self._candidates(level)))

    def value(self, level: float) -> float:
        """Return the forecast for the horizon, in messages a second."""
        return self._candidate(self._best, level)

    @property
    def name(self) -> str:
        """The candidate in use, in words."""
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
        if len(self._sorted) < MIN_HISTORY:
            return level
        return self._sorted[min(len(self._sorted) - 1, int(QUANTILES[i - n] * len(self._sorted)))]

    def _judge(self, rate: float, candidates: list[float]) -> None:
        q, fade = self._quantile, self._fade
        losses = self._losses
        for i, guess in enumerate(candidates):
            miss = rate - guess
            losses[i] = losses[i] * fade + (q * miss if miss > 0 else (q - 1) * miss)
        self._judged += 1
        if self._judged >= MIN_SCORED_PERIODS:
            self._best = losses.index(min(losses))
