"""Rates and latencies out of samples as they arrive. Pure: times come from outside."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

WINDOW_S = 6.0
# Two arrivals that happen to be close say nothing of what a second brings.
LEAST_SPAN_S = 1.0


class Rate:
    """How much arrives a second, over the last `window_s`.

    Arrivals are few and even (a segment a second and camera), so counting those in a window would jump by a fifth
    with each. What lies between the first and the last is exact; once the next one is overdue, it falls.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._arrivals: deque[tuple[float, float]] = deque()

    def add(self, at: float, amount: float = 1.0) -> None:
        """at: seconds, never before the last."""
        self._arrivals.append((at, amount))
        self._forget(at)

    def per_second(self, now: float) -> float:
        self._forget(now)
        if len(self._arrivals) < 2:
            return 0.0
        first, last = self._arrivals[0][0], self._arrivals[-1][0]
        gap = (last - first) / (len(self._arrivals) - 1)
        spent = max(last - first, now - 1.5 * gap - first, LEAST_SPAN_S)
        # The first arrival brought what was made before it.
        amount = sum(a for _, a in self._arrivals) - self._arrivals[0][1]
        return amount / spent

    def _forget(self, now: float) -> None:
        while self._arrivals and self._arrivals[0][0] < now - self._window_s:
            self._arrivals.popleft()


class Latencies:
    """The latencies of the last `window_s`, in seconds."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._values: deque[tuple[float, float]] = deque()

    def add(self, at: float, value: float) -> None:
        self._values.append((at, value))

    def quantile(self, q: float, now: float) -> float | None:
        """None where nothing arrived."""
        while self._values and self._values[0][0] < now - self._window_s:
            self._values.popleft()
        return quantile([v for _, v in self._values], q)


def quantile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that a share `q` of them does not exceed (nearest rank); None of none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
