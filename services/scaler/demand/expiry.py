"""How many deferred segments are about to expire, from counts alone. Pure.

    expiry = ExpiryForecast(grace_s=90)
    expiry.measure(now, DeferredSegments(ever=410, waiting=60, retention_s=600))    # 12.0 have at most 90 s left

Deferred segments are backfilled in order. So the waiting segments deferred more than `retention_s - grace_s` seconds
ago are about to expire, except those older than `retention_s`, whose video has expired. A job that is delivered twice
counts twice, so the result may be too low.
"""

from __future__ import annotations

from bisect import bisect_right

from services.scaler.demand.observation import DeferredSegments


class ExpiryForecast:
    """See the module. grace_s: 0 disables the forecast."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        # The cumulative deferred counts, and their times.
        self._times: list[float] = []
        self._counts: list[int] = []

    def measure(self, now: float, deferred: DeferredSegments | None) -> float:
        """Return the expiring segments at `now`, in seconds. Those of the first observation count as new."""
        if deferred is None or not self._grace_s:
            return 0.0
        done = deferred.ever - deferred.waiting
        if self._counts and deferred.ever < self._counts[-1]:  # the count restarted
            self._times, self._counts = [], []
        if not self._counts:
            self._note(now, done)
        if deferred.ever > self._counts[-1]:
            self._note(now, deferred.ever)
        expired = self._before(now - deferred.retention_s)
        older = self._before(now - max(0.0, deferred.retention_s - self._grace_s))
        self._forget(now - deferred.retention_s)
        return float(max(0, older - max(done, expired)))

    def _note(self, now: float, count: int) -> None:
        self._times.append(now)
        self._counts.append(count)

    def _before(self, time: float) -> int:
        """Return the deferred count at that time."""
        return self._counts[max(0, bisect_right(self._times, time) - 1)]

    def _forget(self, time: float) -> None:
        half = len(self._times) // 2
        if half > 32 and self._times[half] <= time:
            del self._times[:half], self._counts[:half]
