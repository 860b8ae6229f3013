"""The delay before the next try: doubled after each failure, up to a limit, with jitter. Pure.

    backoff = Backoff(first_s=0.5, longest_s=30.0)
    await asyncio.sleep(backoff.after(tries))      # tries: failures in a row, from 1 on; 0 after a success

The caller counts its tries, and so decides what resets them. Source of the jitter:
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

# 2.0 ** 60 is beyond every limit, and far from overflow.
_MOST_DOUBLINGS = 60


class Backoff(msgspec.Struct, frozen=True):
    """A growing delay with jitter and a cap.

    first_s: the delay after the first failure, in seconds, before jitter. longest_s: the cap, before jitter. jitter:
    the fraction of a delay that chance may remove, 0 to 1, so that clients that failed together do not return together.
    longest_requested_s: the cap on the other side's request, as by Retry-After. chance: numbers in 0..1.
    """

    first_s: float
    longest_s: float
    jitter: float = 0.5
    longest_requested_s: float = 0.0
    chance: Callable[[], float] = random.random

    def after(self, tries: int, requested_s: float | None = None) -> float:
        """Return seconds to wait after `tries` failures in a row, from 1 on; at least the grant of `requested_s`."""
        nominal = min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, _MOST_DOUBLINGS))
        return max(nominal * (1.0 - self.jitter + self.jitter * self.chance()), self.granted(requested_s))

    def granted(self, requested_s: float | None) -> float:
        """Return how much of the other side's request is granted, in seconds."""
        return min(self.longest_requested_s, requested_s or 0.0)
