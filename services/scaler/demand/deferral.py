"""Whether the plan may rely on deferred frames, from the shares that were deferred and never analysed. Pure.

Degradable work defers frames while the fleet is briefly too small, and no segment waits for long. Idle replicas
backfill the deferred frames, except those whose video expires first: these are never analysed. Two shares of the frames
wanted in the last hours have a limit: those never analysed, and those deferred at first. The frames below the first
limit are the segments that need no backfill.
"""

from __future__ import annotations

import math

from services.scaler.demand.observation import Observation

# The shares are means over this many hours.
MEMORY_H = 4.0
HOUR_S = 3600.0


class DeferralBudget:
    """See the module. is_reported: whether workers report their analysed frames."""

    def __init__(self, loss_budget: float, defer_limit: float) -> None:
        self._loss_budget = loss_budget
        self._defer_limit = defer_limit
        self._wanted = self._deferred = self._never = self._segments = 0.0
        self._last: tuple[float, float, float, float] | None = None
        # The last known count of deferred segments.
        self._ever: int | None = None
        self.is_reported = False

    @property
    def deferred_share(self) -> float:
        """The deferred share of the frames wanted in the last hours."""
        return self._deferred / self._wanted if self._wanted else 0.0

    @property
    def never_share(self) -> float:
        """The share of the frames wanted in the last hours that no replica will analyse any more."""
        return self._never / self._wanted if self._wanted else 0.0

    @property
    def is_exceeded(self) -> bool:
        """Whether one of the shares is over its limit."""
        return self.never_share > self._loss_budget or self.deferred_share > self._defer_limit

    @property
    def spare_segments(self) -> float:
        """The deferred segments that may expire within the budget."""
        spare_frames = max(0.0, self._loss_budget * self._wanted - self._never)
        return spare_frames * self._segments / self._deferred if self._deferred else 0.0

    def observe(self, o: Observation) -> None:
        """Record the workers' counters. Those of a new observer are another observer's: differences mean nothing."""
        last, self._last = self._last, None
        before, self._ever = self._ever, o.deferred.ever if o.deferred else self._ever
        if o.fleet is None:
            return
        self.is_reported = o.fleet.wanted is not None and o.fleet.analysed is not None
        if o.fleet.wanted is None or o.fleet.analysed is None:
            return
        self._last = (o.time, o.fleet.wanted, o.fleet.analysed, o.fleet.never)
        if last is None or o.is_new_observer or o.time <= last[0]:
            return
        passed, wanted, analysed, never = (max(0.0, new - old) for new, old in zip(self._last, last, strict=True))
        segments = max(0, self._ever - before) if self._ever is not None and before is not None else 0
        fade = math.exp(-passed / HOUR_S / MEMORY_H)
        self._wanted = self._wanted * fade + wanted
        self._deferred = self._deferred * fade + max(0.0, wanted - analysed)
        self._never = self._never * fade + never
        self._segments = self._segments * fade + segments
