"""KEDA's scale executor: it alone scales from and to zero. Pure.

    executor = Executor(scaled, now)
    decision = executor.request_scale(now, current, polled)      # after a poll
    decision = executor.activate(now, current, "…")              # after a push

Both return None if the count stays without a cause. Activity starts `max(1, minReplicaCount)`; `cooldownPeriod` without
activity writes the idle count; errors without a fallback freeze the count.

Source: KEDA's `pkg/scaling/executor/scale_scaledobjects.go`.
"""

from __future__ import annotations

from services.scaler.keda.reason import Decision, TriggerUnread, because_of_fallback
from services.scaler.keda.scaledobject import ScaledObject
from services.scaler.keda.source import Polled

BECAME_ACTIVE = "a trigger became active"


class Executor:
    """See the module. `now` is in seconds of any clock that does not step back."""

    def __init__(self, scaled: ScaledObject, now: float) -> None:
        self._scaled = scaled
        self._spec = scaled.spec
        self._created = now
        # The condition Ready after the last request: True, False, or None for Unknown.
        self.ready: bool | None = True
        self._last_active: float | None = None

    def pause(self, current: int) -> Decision | None:
        """Return the decision of a pause by annotation; None without a pause."""
        if not self._scaled.paused:
            return None
        count = self._scaled.paused_replicas
        return Decision(current if count is None else count, "paused by annotation")

    def request_scale(self, now: float, current: int, polled: Polled) -> Decision | None:
        """Return the decision of a poll."""
        active, error, fallback_for = polled
        self.ready = self._is_ready(current, active=active or self._scaled.force_activation, failed=error is not None)
        if active:
            return self.activate(now, current, BECAME_ACTIVE, failed=error is not None, fallback_for=fallback_for)
        if self._scaled.force_activation:
            return self.activate(now, current, "activation is forced by annotation", failed=error is not None)
        if error and (self._spec.fallback is None or self._spec.fallback.replicas > 0):
            # An unreadable trigger is not an idle one: the count stays, and the HPA can still apply the fallback.
            return Decision(current, TriggerUnread(error))
        return self._rest(now, current)

    def _is_ready(self, current: int, *, active: bool, failed: bool) -> bool | None:
        """Return the condition Ready: None for a failure next to an active trigger; False without a fallback."""
        if not failed or (active and self._starts(current)):
            return True
        if active:
            return None
        return self._spec.fallback is not None

    def _starts(self, current: int) -> bool:
        return current == 0 or (self._spec.idle_replica_count is not None and current < self._spec.min_replica_count)

    def activate(
        self, now: float, current: int, why: str, *, failed: bool = False, fallback_for: Exception | None = None
    ) -> Decision | None:
        """Start the minimum if nothing, or the idle count, runs. failed: a trigger gave an error, so `now` does not
        count as the last activity.
        """
        spec = self._spec
        if self._starts(current):
            if self._scaled.paused_scale_out:
                return Decision(current, "held, as scaling out is paused by annotation")
            self._last_active = now
            return Decision(max(1, spec.min_replica_count), because_of_fallback(fallback_for) + why)
        if not failed:
            self._last_active = now
        return None

    def _rest(self, now: float, current: int) -> Decision | None:
        """Without activity, scale down to the idle count after the cooldown, or up to the minimum."""
        spec = self._spec
        idle = spec.idle_replica_count
        rest = spec.min_replica_count if idle is None else idle
        if current > rest and (idle is not None or rest == 0):
            if self._scaled.paused_scale_in:
                return Decision(current, "held, as scaling in is paused by annotation")
            if self._cooled_down(now):
                return Decision(rest, f"no trigger was active for {self._cooldown():g} s")
        elif idle is None and current < rest:
            return Decision(rest, "below minReplicaCount")
        return None

    def _cooled_down(self, now: float) -> bool:
        since = self._created if self._last_active is None else self._last_active
        # KEDA tests for strictly after, but truncates the last activity to whole seconds.
        return now >= since + self._cooldown()

    def _cooldown(self) -> int:
        return self._spec.initial_cooldown_period if self._last_active is None else self._spec.cooldown_period
