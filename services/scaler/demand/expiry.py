"""How much of what was put off is about to expire, by counts alone. Pure.

    due = Due(grace_s=90)
    due.measure(now, PutOff(ever=410, waiting=60, kept_s=600))      # 12.0 segments have at most 90 s left

What is put off is made good in the order in which it was put off. So of what waits, all that was not put off within the
last `kept_s - grace_s` seconds is due, but for what was put off more than `kept_s` ago: its video is gone. A job that
is delivered twice counts as two: less is due then than there is.
"""

from __future__ import annotations

from bisect import bisect_right

from services.scaler.demand.observation import DeferredSegments


class ExpiryForecast:
    """See the module. grace_s: 0: nothing is ever due."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        # When how many had been put off.
        self._times: list[float] = []
        self._counts: list[int] = []

    def measure(self, now: float, deferred: DeferredSegments | None) -> float:
        """Segments that are due at `now`, in seconds. What was there at the first look is taken to be new then."""
        if deferred is None or not self._grace_s:
            return 0.0
        done = deferred.ever - deferred.waiting
        if self._counts and deferred.ever < self._counts[-1]:  # counted anew
            self._times, self._counts = [], []
        if not self._counts:
            self._note(now, done)
        if deferred.ever > self._counts[-1]:
            self._note(now, deferred.ever)
        expired = self._before(now - deferred.kept_s)
        older = self._before(now - max(0.0, deferred.kept_s - self._grace_s))
        self._forget(now - deferred.kept_s)
        return float(max(0, older - max(done, expired)))

    def _note(self, now: float, count: int) -> None:
        self._times.append(now)
        self._counts.append(count)

    def _before(self, time: float) -> int:
        """How many had been put off by then."""
        return self._counts[max(0, bisect_right(self._times, time) - 1)]

    def _forget(self, time: float) -> None:
        half = len(self._times) // 2
        if half > 32 and self._times[half] <= time:
            del self._times[:half], self._counts[:half]
