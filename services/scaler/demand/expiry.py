"""The rate at which deferred segments must be backfilled before their video expires, from counts alone. Pure.

    deadlines = BackfillDeadlines()
    deadlines.due(now, DeferredSegments(ever=410, waiting=60, retention_s=600), spare=10)   # Expiring(50, 0.125)

Deferred segments are backfilled in order. So the waiting segments deferred before some time have the retention after it
as their deadline, except those whose video has expired. A job that is delivered twice counts twice, so the result may
be too low.
"""

from __future__ import annotations

from typing import NamedTuple

from services.scaler.demand.observation import DeferredSegments
from services.scaler.demand.warming import HPA_SYNC_S

# Deadlines are that exact: a share of the retention.
STEP = 0.01


class Expiring(NamedTuple):
    """segments: with the deadline that decides. rate: at which these must be backfilled, in segments a second."""

    segments: float
    rate: float


NOTHING = Expiring(0.0, 0.0)


class BackfillDeadlines:
    """See the module."""

    def __init__(self) -> None:
        # The cumulative deferred count at the end of each step, and the time of the step's first.
        self._steps: list[tuple[float, int]] = []
        self._expired = 0

    def due(self, now: float, deferred: DeferredSegments | None, *, spare: float) -> Expiring:
        """Return the due segments at `now`, in seconds. spare: of the waiting segments, those that may expire.

        The waiting segments of the first observation count as new.
        """
        if deferred is None:
            return NOTHING
        self._record(now, deferred)
        done = max(self._expired, deferred.ever - deferred.waiting) + spare
        found = NOTHING
        least_s = max(HPA_SYNC_S, STEP * deferred.retention_s)
        for began, count in self._steps:
            left_s = max(least_s, began + deferred.retention_s - now)
            found = max(found, Expiring(count - done, (count - done) / left_s), key=lambda due: due.rate)
        return found

    def _record(self, now: float, deferred: DeferredSegments) -> None:
        steps = self._steps
        if steps and deferred.ever < steps[-1][1]:  # the count restarted
            steps.clear()
            self._expired = 0
        if deferred.ever > (steps[-1][1] if steps else self._expired):
            if steps and now < steps[-1][0] + STEP * deferred.retention_s:
                steps[-1] = (steps[-1][0], deferred.ever)
            else:
                steps.append((now, deferred.ever))
        while steps and steps[0][0] + deferred.retention_s <= now:
            self._expired = steps.pop(0)[1]
