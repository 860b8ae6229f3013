"""Rates, latencies and what is seen, out of samples as they arrive. Pure: times come from outside."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

WINDOW_S = 6.0
# Two arrivals that happen to be close say nothing of what a second brings.
LEAST_SPAN_S = 1.0
# A worker that is behind still brings an event of each camera this often.
FRESH_S = 10.0


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


class Latest:
    """What was seen last, for as long as it is news.

    fresh_s: how long after its segment's length nothing may be analysed before it is no longer what is seen now.
    """

    def __init__(self, fresh_s: float = FRESH_S) -> None:
        self._fresh_s = fresh_s
        self._until = self._start = float("-inf")
        self._labels: dict[str, int] = {}

    def add(self, at: float, labels: dict[str, int], *, start: float, duration: float) -> None:
        """at: seconds of arrival. start, duration: of the segment; one that comes after a later one is passed over."""
        if at <= self._until and start < self._start:
            return
        self._labels, self._start, self._until = labels, start, at + duration + self._fresh_s

    def now(self, at: float) -> dict[str, int]:
        """Objects by label; empty where nothing was seen, or nothing is looked at any more."""
        return self._labels if at <= self._until else {}


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
