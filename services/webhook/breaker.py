"""Whether the endpoint is worth asking: after failures in a row it is asked by one probe at a time. Pure.

    breaker = Breaker()
    breaker.failed(17, begun, "503 Service Unavailable")   # of event 17; begun: the request, by the breaker's clock
    breaker.is_open, breaker.wait_s, breaker.reason
    breaker.succeeded(begun)

One event alone that fails again and again does not open it: that may be the event's fault, which others are not to
wait for. What was asked before it opened tells nothing of the time since.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.webhook.backoff import allowed, delay

# So many different events in a row.
FAILURES = 3
LONGEST_PAUSE_S = 30.0


class Breaker:
    """See the module. reason: of the last failure. opened_at: wall clock, seconds; None while it is closed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.reason = ""
        self.opened_at: float | None = None
        self._clock = clock
        self._wall = wall
        self._failing: set[int] = set()
        self._opened = 0.0
        self._until = 0.0
        self._tries = 0

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    @property
    def wait_s(self) -> float:
        """Seconds until the next probe."""
        return max(0.0, self._until - self._clock())

    def failed(
        self, event: int, begun: float, reason: str, *, certain: bool = False, asked_s: float | None = None
    ) -> None:
        """A request failed. certain: it is the endpoint, whatever the event. asked_s: what all are asked to wait."""
        now = self._clock()
        self._failing.add(event)
        if self.is_open and begun < self._opened:
            self._until = max(self._until, now + allowed(asked_s))
            return
        self.reason = reason
        if not self.is_open:
            if not certain and len(self._failing) < FAILURES:
                return
            self.opened_at, self._opened, self._tries = self._wall(), now, 0
        self._tries += 1
        self._until = now + delay(self._tries, asked_s, longest_s=LONGEST_PAUSE_S)

    def succeeded(self, begun: float) -> None:
        """A request was answered."""
        if not self.is_open or begun >= self._opened:
            self._failing.clear()
            self.opened_at = None
