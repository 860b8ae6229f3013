"""How fast something comes. Pure: times come from outside.

flow = Flow(began)
flow.add(at, 3)
flow.per_second(now)
"""

from __future__ import annotations

import math

# What came is half forgotten after 0.7 of this.
OVER_S = 6.0
# Two arrivals that happen to be close say nothing of what a second brings.
LEAST_S = 2.0


class Flow:
    """A mean in which what came counts for less the longer ago it was: `exp(-age / over_s)`.

    It takes two numbers of memory, however much comes. began: since when it is looked at, seconds of a clock that does
    not step back.
    """

    __slots__ = ("_at", "_began", "_level", "_over_s")

    def __init__(self, began: float, over_s: float = OVER_S) -> None:
        self._began = self._at = began
        self._over_s = over_s
        self._level = 0.0

    def add(self, at: float, amount: float = 1.0) -> None:
        """What came at a time; one before the last counts as of the last."""
        self._pass(at)
        self._level += amount / self._over_s

    def per_second(self, now: float) -> float:
        """What lies before `began` is not known, so that the weights of the time since then are all there is."""
        self._pass(now)
        looked_s = max(LEAST_S, self._at - self._began)
        return self._level / -math.expm1(-looked_s / self._over_s)

    def _pass(self, at: float) -> None:
        if at > self._at:
            self._level *= math.exp((self._at - at) / self._over_s)
            self._at = at
