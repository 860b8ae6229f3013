"""The HorizontalPodAutoscaler that KEDA makes of a ScaledObject. Pure.

    hpa = Hpa(scaled)
    decision = hpa.sync(now, served, current, ready)     # every 15 s

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
from collections.abc import Callable, Sequence

import msgspec

from services.scaler.demand.peak import Peak
from services.scaler.keda.reason import Decision, HpaWanted, Seen, TriggerUnread
from services.scaler.keda.scaledobject import RatePolicy, ScaledObject, ScalingRules
from services.scaler.keda.source import CompositeMetric, TriggerMetric

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
    select: str
    policies: tuple[RatePolicy, ...]
    tolerance: float


_UP_POLICIES = (
    RatePolicy(type="Pods", value=4, period_seconds=15),
    RatePolicy(type="Percent", value=100, period_seconds=15),
)
_DOWN_POLICIES = (RatePolicy(type="Percent", value=100, period_seconds=15),)


def _rules(configured: ScalingRules | None, window: int, policies: tuple[RatePolicy, ...], *, paused: bool) -> _Rules:
    configured = configured or ScalingRules()
    return _Rules(
        window=window if configured.stabilization_window_seconds is None else configured.stabilization_window_seconds,
        select="Disabled" if paused else configured.select_policy or "Max",
        policies=configured.policies or policies,
        tolerance=TOLERANCE if configured.tolerance is None else configured.tolerance,
    )


class Hpa:
    """See the module. Its metrics are external ones, of type AverageValue or Value."""

    def __init__(self, scaled: ScaledObject) -> None:
        behavior = scaled.spec.behavior
        # KEDA's GetHPAMinReplicas.
        self._min = max(1, scaled.spec.min_replica_count)
        self._max = scaled.spec.max_replica_count
        # KEDA writes a pause of one direction into `behavior`, which then exists in any case.
        self._has_behavior = behavior is not None or scaled.paused_scale_in or scaled.paused_scale_out
        self._up = _rules(behavior.scale_up if behavior else None, 0, _UP_POLICIES, paused=scaled.paused_scale_out)
        self._down = _rules(
            behavior.scale_down if behavior else None, STABILIZATION_S, _DOWN_POLICIES, paused=scaled.paused_scale_in
        )
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

    def sync(self, now: float, served: Sequence[TriggerMetric | CompositeMetric], current: int, ready: int) -> Decision:
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
                proposed = max(proposed, self._proposal(s, current, ready))
                seen += ((s.label, s.value, s.target, s.per_replica),)
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

    def _proposal(self, s: TriggerMetric | CompositeMetric, current: int, ready: int) -> int:
        usage, target = s.value, s.target
        if not s.per_replica:
            ratio = usage / target
            if self._least_usage <= ratio <= self._most_usage:
                return current
            return min(math.ceil(ratio * ready), MAX_INT32)
        if self._least_usage <= usage / (target * current) <= self._most_usage:
            return current
        return min(math.ceil(usage / target), MAX_INT32)

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
            ceiling = self._rate_limit(now, current, self._up, _most_up, max, min)
            return min(bounded, max(ceiling, current))
        if bounded < current:
            floor = self._rate_limit(now, current, self._down, _most_down, min, max)
            return max(bounded, min(floor, current))
        return current

    def _rate_limit(
        self,
        now: float,
        current: int,
        rules: _Rules,
        reach: Callable[[RatePolicy, int], int],
        widest: Callable[..., int],
        narrowest: Callable[..., int],
    ) -> int:
        """Return how far the policies let the count move from its value at the start of their periods."""
        if rules.select == "Disabled":
            return current
        select = narrowest if rules.select == "Min" else widest
        return select([reach(p, current - self._change(now, p.period_seconds)) for p in rules.policies])

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
