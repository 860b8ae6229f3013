"""How long to wait before the next try. Exponential with full jitter: cameras that fell together do not return
together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 0.5
MOST_S = 30.0
# Video for this long: what comes next is a new trouble, not the old one.
HEALED_S = 30.0


class Backoff:
    """`random` gives numbers in 0..1."""

    def __init__(self, random: Callable[[], float] = random.random) -> None:
        self._random = random
        self._tries = 0

    def next(self, worked_s: float) -> float:
        """Seconds to wait after a connection that delivered video for `worked_s` seconds."""
        if worked_s >= HEALED_S:
            self._tries = 0
        ceiling = min(MOST_S, FIRST_S * 2.0**self._tries)
        self._tries = min(self._tries + 1, 16)
        return ceiling * self._random()
