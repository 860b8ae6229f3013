"""How fast something arrives. Pure: the caller passes times."""

from __future__ import annotations

import math

# An arrival's weight halves after 0.7 of this.
OVER_S = 6.0
# Shortest period of a mean: two close arrivals make no rate.
LEAST_S = 2.0


class Flow:
    """An exponentially weighted mean rate: an arrival weighs `exp(-age / over_s)`.

    It takes two numbers of memory. began: when observation began, in seconds of a monotonic clock.
    """

    __slots__ = ("_at", "_began", "_level", "_over_s")

    def __init__(self, began: float, over_s: float = OVER_S) -> None:
        self._began = self._at = began
        self._over_s = over_s
        self._level = 0.0

    def add(self, at: float, amount: float = 1.0) -> None:
        """Add arrivals at a time; a time before the last counts as the last."""
        self._pass(at)
        self._level += amount / self._over_s

    def per_second(self, now: float) -> float:
        """Return the rate, normalised over the time since `began`: nothing earlier is known."""
        self._pass(now)
        observed_s = max(LEAST_S, self._at - self._began)
        return self._level / -math.expm1(-observed_s / self._over_s)

    def _pass(self, at: float) -> None:
        if at > self._at:
            self._level *= math.exp((self._at - at) / self._over_s)
            self._at = at
