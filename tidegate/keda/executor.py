"""KEDA's scale executor: it alone scales from and to zero. Pure.

    executor = Executor(scaled)
    decision = executor.request_scale(now, current, polled)      # after a poll
    decision = executor.activate(now, current, "…")              # after a push

Both return None if the count stays without a cause. Activity starts `max(1, minReplicaCount)`; `cooldownPeriod` without
activity scales to zero; errors without a fallback freeze the count.

Source: KEDA's `pkg/scaling/executor/scale_scaledobjects.go`.
"""

from __future__ import annotations

from tidegate.keda.reason import Decision, TriggerUnread, because_of_fallback
from tidegate.keda.scaledobject import ScaledObject
from tidegate.keda.source import Polled

BECAME_ACTIVE = "a trigger became active"


class Executor:
    """See the module. `now` is in seconds of any clock that does not step back."""

    def __init__(self, scaled: ScaledObject) -> None:
        self._spec = scaled.spec
        # The condition Ready after the last request: True, False, or None for Unknown.
        self.ready: bool | None = True
        self._last_active: float | None = None

    def request_scale(self, now: float, current: int, polled: Polled) -> Decision | None:
        """Return the decision of a poll."""
        active, error, fallback_for = polled
        self.ready = self._is_ready(current, active=active, failed=error is not None)
        if active:
            return self.activate(now, current, BECAME_ACTIVE, failed=error is not None, fallback_for=fallback_for)
        if error and (self._spec.fallback is None or self._spec.fallback.replicas > 0):
            # An unreadable trigger is not an idle one: the count stays, and the HPA can still apply the fallback.
            return Decision(current, TriggerUnread(error))
        return self._rest(now, current)

    def _is_ready(self, current: int, *, active: bool, failed: bool) -> bool | None:
        """Return the condition Ready: None for a failure next to an active trigger; False without a fallback."""
        if not failed or (active and current == 0):
            return True
        if active:
            return None
        return self._spec.fallback is not None

    def activate(
        self, now: float, current: int, why: str, *, failed: bool = False, fallback_for: Exception | None = None
    ) -> Decision | None:
        """Start the minimum if nothing runs. failed: a trigger gave an error, so `now` is not the last activity."""
        if current == 0:
            self._last_active = now
            return Decision(max(1, self._spec.min_replica_count), because_of_fallback(fallback_for) + why)
        if not failed:
            self._last_active = now
        return None

    def _rest(self, now: float, current: int) -> Decision | None:
        """Without activity, scale to zero after the cooldown, or up to the minimum."""
        least = self._spec.min_replica_count
        if current < least:
            return Decision(least, "below minReplicaCount")
        if current == 0 or least:
            return None
        # Without any activity yet there is no cooldown. KEDA tests for strictly after, but truncates to whole seconds.
        cooldown = 0 if self._last_active is None else self._spec.cooldown_period
        if self._last_active is not None and now < self._last_active + cooldown:
            return None
        return Decision(0, f"no trigger was active for {cooldown:g} s")
