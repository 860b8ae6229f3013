"""Whether a server is worth asking: after some failures in a row it is not, until it was seen to be well. Pure.

breaker = Breaker()
breaker.failed("connection refused")
breaker.is_open, breaker.reason, breaker.open_s
breaker.succeeded()
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

# One failure may be one request's fault.
FAILURES = 3
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0


class Breaker:
    """Open: nothing is asked. It starts as `reason` says, open if there is one."""

    def __init__(self, reason: str = "", *, failures: int = FAILURES, clock: Callable[[], float] = time.monotonic):
        self._limit = failures
        self._clock = clock
        self._failures = 0
        self._opened = clock() if reason else None
        self.reason = reason

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    @property
    def open_s(self) -> float:
        """Seconds since it opened; 0 while it is closed."""
        return 0.0 if self._opened is None else self._clock() - self._opened

    def failed(self, reason: str, *, certain: bool = False) -> None:
        """A request failed. certain: there is nothing to wait for another failure for."""
        self._failures += 1
        self.reason = reason
        if self._opened is None and (certain or self._failures >= self._limit):
            self._opened = self._clock()

    def succeeded(self) -> None:
        self._failures = 0
        self._opened = None
        self.reason = ""


def pause(tries: int, *, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait after so many tries, from 1 on: doubling, and spread so that replicas do not return together."""
    return float(min(longest_s, first_s * 2.0 ** min(tries - 1, 30)) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
