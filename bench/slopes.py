"""Whether what is measured again and again grows: a slope, and how far it may be from the true one. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec
from scipy.special import stdtrit  # type: ignore[import-untyped]

# Samples that follow each other resemble each other: a queue that is long stays long for a while. As the mean of so
# many they count as one, else the error would come out too small.
BLOCK = 10
FEWEST_BLOCKS = 4
HOUR_S = 3600.0


class Slope(msgspec.Struct, frozen=True):
    """per_hour: in what was measured. error: half of the interval around it."""

    per_hour: float
    error: float

    @property
    def holds_zero(self) -> bool:
        return abs(self.per_hour) <= self.error

    @property
    def grows(self) -> bool:
        return self.per_hour > self.error


def slope(at_s: Sequence[float], values: Sequence[float], confidence: float = 0.95) -> Slope | None:
    """The line that fits best through means of BLOCK samples each; the last samples that fill none are left out.

    confidence: how likely the interval has the true slope in it, if what remains is normal. None where there are fewer
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
