"""Rates, latencies and the last objects seen, from samples as they arrive. Pure: the caller gives the times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

WINDOW_S = 6.0
# Two arrivals close together do not predict a second.
LEAST_SPAN_S = 1.0
# A worker with a backlog still publishes an event of each camera this often.
FRESH_S = 10.0


class Rate:
    """The amount that arrives per second, over the last `window_s`.

    Arrivals are few and even (one segment per second and camera), so a plain count in a window would jump by a fifth
    with each. The rate between the first and the last is exact; it falls once the next is overdue.
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
        # The first arrival covers the time before it.
        amount = sum(a for _, a in self._arrivals) - self._arrivals[0][1]
        return amount / spent

    def _forget(self, now: float) -> None:
        while self._arrivals and self._arrivals[0][0] < now - self._window_s:
            self._arrivals.popleft()


class Latest:
    """The last objects seen, while they are fresh.

    fresh_s: after its segment's length, the seconds without an analysis until the result is stale.
    """

    def __init__(self, fresh_s: float = FRESH_S) -> None:
        self._fresh_s = fresh_s
        self._until = self._start = float("-inf")
        self._labels: dict[str, int] = {}

    def add(self, at: float, labels: dict[str, int], *, start: float, duration: float) -> None:
        """at: seconds of arrival. start, duration: of the segment; one older than the last is ignored."""
        if at <= self._until and start < self._start:
            return
        self._labels, self._start, self._until = labels, start, at + duration + self._fresh_s

    def now(self, at: float) -> dict[str, int]:
        """Return the objects by label; empty if nothing was seen, or the last result is stale."""
        return self._labels if at <= self._until else {}


class Latencies:
    """The latencies of the last `window_s`, in seconds."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._values: deque[tuple[float, float]] = deque()

    def add(self, at: float, value: float) -> None:
        self._values.append((at, value))

    def quantile(self, q: float, now: float) -> float | None:
        """Return the quantile; None if nothing arrived."""
        while self._values and self._values[0][0] < now - self._window_s:
            self._values.popleft()
        return quantile([v for _, v in self._values], q)


def quantile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that a share `q` of them does not exceed (nearest rank); None of none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
