"""The HorizontalPodAutoscaler that KEDA makes of a ScaledObject. Pure.

    hpa = Hpa(scaled)
    decision = hpa.sync(now, served, current)     # every 15 s

KEDA's executor alone scales from and to zero: KEDA sets a minimum of at least 1. Only with a minimum of 0 does the HPA
of Kubernetes 1.37 scale to zero and back.

One sync is ceil(metric / target), unchanged within a tolerance, stabilised over past recommendations, limited in rate,
and clamped to the bounds. A simulation runs it millions of times, so the extremes of the stabilisation windows are
maintained incrementally.

Sources: KEDA's `controllers/keda/hpa.go`; Kubernetes' `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go`
and `pkg/apis/autoscaling/v2/defaults.go`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from services.scaler.demand.peak import Peak
from tidegate.keda.reason import Decision, HpaWanted, Seen, TriggerUnread
from tidegate.keda.scaledobject import RatePolicy, ScaledObject, ScalingRules
from tidegate.keda.source import CompositeMetric, TriggerMetric

# kube-controller-manager's defaults: sync period, tolerance, downscale stabilisation.
SYNC_S = 15.0
TOLERANCE = 0.1
STABILIZATION_S = 300

# Without `behavior`, one sync at most doubles the replicas, or brings them to 4.
UP_FACTOR = 2
UP_MINIMUM = 4

MAX_INT32 = 2**31 - 1


class _Rules(msgspec.Struct, frozen=True):
    """One direction of `behavior`, with the HPA's defaults filled in."""

    window: float
    policies: tuple[RatePolicy, ...]
    tolerance: float


_UP_POLICIES = (
    RatePolicy(type="Pods", value=4, period_seconds=15),
    RatePolicy(type="Percent", value=100, period_seconds=15),
)
_DOWN_POLICIES = (RatePolicy(type="Percent", value=100, period_seconds=15),)


def _rules(configured: ScalingRules | None, window: int, policies: tuple[RatePolicy, ...]) -> _Rules:
    configured = configured or ScalingRules()
    return _Rules(
        window=window if configured.stabilization_window_seconds is None else configured.stabilization_window_seconds,
        policies=configured.policies or policies,
        tolerance=TOLERANCE if configured.tolerance is None else configured.tolerance,
    )


class Hpa:
    """See the module. Its metrics are external ones, with a target per replica."""

    def __init__(self, scaled: ScaledObject) -> None:
        behavior = scaled.spec.behavior
        # KEDA's GetHPAMinReplicas.
        self._min = max(1, scaled.spec.min_replica_count)
        self._max = scaled.spec.max_replica_count
        self._has_behavior = behavior is not None
        self._up = _rules(behavior.scale_up if behavior else None, 0, _UP_POLICIES)
        self._down = _rules(behavior.scale_down if behavior else None, STABILIZATION_S, _DOWN_POLICIES)
        self._least_usage = 1 - self._down.tolerance
        self._most_usage = 1 + self._up.tolerance
        # The lowest recommendation is the maximum of the negated ones; without a window it is the newest.
        self._lows: Peak[int] | None = Peak(self._up.window) if self._up.window else None
        self._highs: Peak[int] = Peak(self._down.window, closed=not self._has_behavior)
        self._longest_period_s = max(p.period_seconds for r in (self._up, self._down) for p in r.policies)
        self._events: deque[tuple[float, int]] = deque()
        self._is_new = True

    def needs_metrics(self, current: int) -> bool:
        """Whether metrics may change the count, rather than the bounds alone."""
        return self._min <= current <= self._max

    def sync(self, now: float, served: Sequence[TriggerMetric | CompositeMetric], current: int) -> Decision:
        """Run one sync: return the replicas to run, given the served metrics."""
        if self._is_new:
            self._is_new = False
            self._remember(now, current)
        if not self._min <= current <= self._max:
            return self._into_bounds(now, current)
        proposed = 0
        error = fallback_for = None
        seen: tuple[Seen, ...] = ()
        for s in served:
            if s.error is None:
                proposed = max(proposed, self._proposal(s, current))
                seen += ((s.label, s.value, s.target),)
            error = error or s.error
            fallback_for = fallback_for or s.fallback_for
        if error and proposed < current:
            return Decision(current, TriggerUnread(error))
        low, high = self._remember(now, proposed)
        stable = min(max(current, low), high)
        desired = self._limit(now, stable, current)
        if desired != current:
            self._record(now, desired - current)
        return Decision(desired, HpaWanted(seen, proposed, stable, desired, fallback_for))

    def _into_bounds(self, now: float, current: int) -> Decision:
        if current == 0:
            return Decision(0, "at rest")
        desired = min(max(current, self._min), self._max)
        self._record(now, desired - current)
        return Decision(desired, "above maxReplicaCount" if current > desired else "below minReplicaCount")

    def _proposal(self, s: TriggerMetric | CompositeMetric, current: int) -> int:
        if self._least_usage <= s.value / (s.target * current) <= self._most_usage:
            return current
        return min(math.ceil(s.value / s.target), MAX_INT32)

    def _remember(self, now: float, proposed: int) -> tuple[int, int]:
        """Add a recommendation; return (the lowest of the up window, the highest of the down window). The count rises
        to the one and falls to the other.
        """
        highest = self._highs.add(now, proposed)
        if not self._has_behavior:
            return highest, highest
        return -self._lows.add(now, -proposed) if self._lows else proposed, highest

    def _limit(self, now: float, stable: int, current: int) -> int:
        if not self._has_behavior:
            ceiling = min(self._max, max(UP_FACTOR * current, UP_MINIMUM))
            return min(max(stable, self._min), ceiling)
        bounded = min(max(stable, self._min), self._max)
        if bounded > current:
            ceilings = [_most_up(p, current - self._change(now, p.period_seconds)) for p in self._up.policies]
            return min(bounded, max(*ceilings, current))
        if bounded < current:
            floors = [_most_down(p, current - self._change(now, p.period_seconds)) for p in self._down.policies]
            return max(bounded, min(*floors, current))
        return current

    def _change(self, now: float, period: int) -> int:
        """Return the replicas added, less those removed, in the last `period` seconds."""
        if not self._events:
            return 0
        return sum([change for t, change in self._events if t > now - period])

    def _record(self, now: float, change: int) -> None:
        if self._has_behavior:
            while self._events and self._events[0][0] < now - self._longest_period_s:
                self._events.popleft()
            self._events.append((now, change))


def _most_up(policy: RatePolicy, start: int) -> int:
    if policy.type == "Pods":
        return start + policy.value
    return math.ceil(start * (1 + policy.value / 100))


def _most_down(policy: RatePolicy, start: int) -> int:
    if policy.type == "Pods":
        return start - policy.value
    return int(start * (1 - policy.value / 100))
