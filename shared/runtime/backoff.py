"""The delay before the next try, and a circuit breaker: no requests to a failing server until it recovers. Pure.

    backoff = Backoff(first_s=0.5, longest_s=30.0)
    await asyncio.sleep(backoff.after(tries))      # tries: failures in a row, from 1 on; 0 after a success

The delay doubles after each failure, up to a limit, with jitter. The caller counts its tries, and so decides what
resets them. Source of the jitter:
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    breaker = Breaker(backoff)
    if breaker.failed("503 Service Unavailable", of=17, begun=begun):   # True: this failure opened it
        ...
    breaker.is_open, breaker.open_s, breaker.wait_s, breaker.reason
    breaker.succeeded(begun)                                            # True: this success closed it

A request that began before the breaker opened says nothing about the server since then: its result neither closes the
breaker nor counts as a failed probe.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable

import msgspec

# 2.0 ** 60 is beyond every limit, and far from overflow.
_MOST_DOUBLINGS = 60
# Failures in a row that open a breaker: one may be the fault of one request.
FAILURES = 3


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


class Breaker:
    """See the module. It is closed at first, or open where `reason` says why.

    backoff: from one probe of an open breaker to the next. failures: how many in a row open it. clock: seconds.
    reason: of the last failure; empty after a success.
    """

    def __init__(
        self,
        backoff: Backoff,
        *,
        reason: str = "",
        failures: int = FAILURES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reason = reason
        self._backoff = backoff
        self._limit = failures
        self._clock = clock
        self._failing: set[Hashable] = set()
        self._opened = clock() if reason else None
        self._probes = 0
        self._probe_at = clock()

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    @property
    def open_s(self) -> float:
        """Return the seconds since it opened; 0 while it is closed."""
        return 0.0 if self._opened is None else self._clock() - self._opened

    @property
    def wait_s(self) -> float:
        """Return the seconds until the next probe of an open breaker."""
        return max(0.0, self._probe_at - self._clock())

    def failed(
        self,
        reason: str,
        *,
        of: Hashable = None,
        begun: float | None = None,
        certain: bool = False,
        requested_s: float | None = None,
    ) -> bool:
        """Record a failed request; return whether that opened the breaker.

        of: the subject of the request; its failures count once, as they may be its own fault. None: each failure
        counts. begun: when the request began, by the breaker's clock; None: now. certain: the server failed, whatever
        the request. requested_s: the delay that the server requests.
        """
        now = self._clock()
        if self._opened is not None and begun is not None and begun < self._opened:
            self._probe_at = max(self._probe_at, now + self._backoff.granted(requested_s))
            return False
        self.reason = reason
        opens = self._opened is None
        if opens:
            self._failing.add(object() if of is None else of)
            if not certain and len(self._failing) < self._limit:
                return False
            self._opened, self._probes = now, 0
        self._probes += 1
        self._probe_at = now + self._backoff.after(self._probes, requested_s)
        return opens

    def succeeded(self, begun: float | None = None) -> bool:
        """Record an answered request, or a healthy server; return whether that closed the breaker."""
        if self._opened is not None and begun is not None and begun < self._opened:
            return False
        closes = self.is_open
        self._failing.clear()
        self._opened = None
        self.reason = ""
        return closes
