"""Whether a repeated measurement grows: its slope, and the slope's error. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec
from scipy.special import stdtrit  # type: ignore[import-untyped]

# Consecutive samples are correlated: a long queue stays long for a while. A block of this many counts as one sample,
# otherwise the error would be too small.
BLOCK = 10
FEWEST_BLOCKS = 4
HOUR_S = 3600.0


class Slope(msgspec.Struct, frozen=True):
    """A slope. per_hour: in the unit of the measurement. error: half of the confidence interval."""

    per_hour: float
    error: float

    @property
    def holds_zero(self) -> bool:
        return abs(self.per_hour) <= self.error

    @property
    def grows(self) -> bool:
        return self.per_hour > self.error


def slope(at_s: Sequence[float], values: Sequence[float], confidence: float = 0.95) -> Slope | None:
    """Return the best fit through means of BLOCK samples each, without an incomplete last block.

    confidence: the probability that the interval contains the true slope, if residuals are normal. None with fewer
    than FEWEST_BLOCKS means.
    """
    times, means = _blocks(at_s), _blocks(values)
    n = len(times)
    if n < FEWEST_BLOCKS:
        return None
    line = statistics.linear_regression(times, means)
    middle = statistics.fmean(times)
    spread = sum((t - middle) ** 2 for t in times)
    rest = sum((v - line.slope * t - line.intercept) ** 2 for t, v in zip(times, means, strict=True))
    error = float(stdtrit(n - 2, (1 + confidence) / 2)) * (rest / (n - 2) / spread) ** 0.5
    return Slope(line.slope * HOUR_S, error * HOUR_S)


def _blocks(values: Sequence[float]) -> list[float]:
    return [statistics.fmean(values[i : i + BLOCK]) for i in range(0, len(values) - BLOCK + 1, BLOCK)]
