"""How many replicas KEDA and the HPA would run, given metrics and a clock. Pure.

    keda = Keda(scaled_object, now=0.0)
    while True:
        decision = keda.step(now, [lag], replicas)      # any time; it acts when one of its clocks is due
        replicas = decision.desired
        now = keda.next_at                              # nothing changes before

Two controllers decide, each at its own pace. KEDA polls every `pollingInterval` and alone moves between nothing and
something: active (metric > activation threshold) starts `max(1, minReplicaCount)`, `cooldownPeriod` without activity
writes the idle count. Between, the HPA syncs every 15 s: ceil(metric / target), held inside a tolerance, stabilised
over past recommendations, limited in rate.

Sources: KEDA's main of August 2026, `pkg/scaling/executor/scale_scaledobjects.go` and `pkg/fallback/fallback.go`;
Kubernetes, `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go` and `pkg/apis/autoscaling/v2/defaults.go`,
with the tolerance of each direction from 1.33.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from services.scaler.scaledobject import Policy, ScaledObject, ScalingRules

# kube-controller-manager's defaults: sync period, tolerance, downscale stabilisation.
SYNC_S = 15.0
TOLERANCE = 0.1
STABILIZATION_S = 300

# Without `behavior`, one sync at most doubles the replicas, or brings them to 4.
UP_FACTOR = 2
UP_MINIMUM = 4

Metric = float | Exception


class Decision(msgspec.Struct, frozen=True):
    """Replicas to run from now on, and why, for a log line."""

    desired: int
    reason: str


class _Rules(msgspec.Struct, frozen=True):
    """One direction of `behavior`, with the HPA's defaults filled in."""

    window: float
    select: str
    policies: tuple[Policy, ...]
    tolerance: float


_UP_POLICIES = (
    Policy(type="Pods", value=4, period_seconds=15),
    Policy(type="Percent", value=100, period_seconds=15),
)
_DOWN_POLICIES = (Policy(type="Percent", value=100, period_seconds=15),)


def _rules(given: ScalingRules | None, window: int, policies: tuple[Policy, ...]) -> _Rules:
    given = given or ScalingRules()
    return _Rules(
        window=window if given.stabilization_window_seconds is None else given.stabilization_window_seconds,
        select=given.select_policy or "Max",
        policies=given.policies or policies,
        tolerance=TOLERANCE if given.tolerance is None else given.tolerance,
    )


class Keda:
    """Both controllers of one ScaledObject. `now` is in seconds of any clock that does not step back."""

    def __init__(self, scaled: ScaledObject, now: float) -> None:
        self._scaled = scaled
        self._spec = scaled.spec
        self._triggers = scaled.triggers
        self._failures = [0] * len(scaled.triggers)
        self._created = now
        self._last_active: float | None = None
        self._hpa = Hpa(scaled)
        self._reason = "started"
        self._next_poll = now
        # The two controllers are not in step in a cluster: half a period is the mean of what is met there.
        self._next_sync = now + SYNC_S / 2

    @property
    def next_at(self) -> float:
        """The time of the next poll or sync: `step` before it changes nothing."""
        return min(self._next_poll, self._next_sync)

    def step(self, now: float, metrics: Sequence[Metric], current: int) -> Decision:
        """What to run, given a value or an error for each trigger, in the file's order, and the replicas asked for now.

        Late calls are taken as the controllers take theirs: each runs once, and its period starts anew.
        """
        desired = current
        if now >= self._next_poll:
            self._next_poll = now + self._spec.polling_interval
            desired = self._poll(now, metrics, desired)
        if now >= self._next_sync:
            self._next_sync = now + SYNC_S
            if not self._scaled.paused:
                desired = self._sync(now, metrics, desired, just_written=desired != current)
        return Decision(desired, self._reason)

    def _poll(self, now: float, metrics: Sequence[Metric], current: int) -> int:
        spec = self._spec
        if self._scaled.paused:
            count = self._scaled.paused_replicas
            return self._because("paused by annotation", current if count is None else count)
        seen = [self._with_fallback(i, m, current) for i, m in enumerate(metrics)]
        basis = _basis(seen, metrics)
        failed = any(isinstance(value, Exception) for value, _ in seen)
        if any(self._is_active(i, value, fell_back) for i, (value, fell_back) in enumerate(seen)):
            if current == 0 or (spec.idle_replica_count is not None and current < spec.min_replica_count):
                self._last_active = now
                return self._because(f"{basis}a trigger became active", max(1, spec.min_replica_count))
            if not failed:
                self._last_active = now
            return current
        if failed and (spec.fallback is None or spec.fallback.replicas > 0):
            # Blind is not idle: the count is held, so that the HPA can still apply the fallback.
            return self._because(f"held, as a trigger can't be read: {_first_error(metrics)}", current)
        rest = spec.min_replica_count if spec.idle_replica_count is None else spec.idle_replica_count
        if current > rest and (spec.idle_replica_count is not None or spec.min_replica_count == 0):
            if self._cooled_down(now):
                return self._because(f"no trigger was active for {self._cooldown():g} s", rest)
        elif spec.idle_replica_count is None and current < spec.min_replica_count:
            return self._because("below minReplicaCount", spec.min_replica_count)
        return current

    def _sync(self, now: float, metrics: Sequence[Metric], current: int, *, just_written: bool) -> int:
        # The HPA asks for metrics only where it may act; each question counts towards the fallback's threshold.
        if not self._hpa.needs_metrics(current):
            metrics = []
        seen = [self._with_fallback(i, m, current) for i, m in enumerate(metrics)]
        decision = self._hpa.sync(now, [value for value, _ in seen], current)
        if just_written and decision.desired == current:
            return current  # KEDA's own reason stands
        return self._because(_basis(seen, metrics) + decision.reason, decision.desired)

    def _because(self, reason: str, desired: int) -> int:
        self._reason = reason
        return desired

    def _with_fallback(self, i: int, metric: Metric, current: int) -> tuple[Metric, bool]:
        """(the metric that KEDA serves, whether the fallback made it)."""
        if not isinstance(metric, Exception):
            self._failures[i] = 0
            return metric, False
        fallback = self._spec.fallback
        self._failures[i] += 1
        if fallback is None or self._failures[i] <= fallback.failure_threshold:
            return metric, False
        replicas = {
            "static": fallback.replicas,
            "currentReplicas": current,
            "currentReplicasIfHigher": max(current, fallback.replicas),
            "currentReplicasIfLower": min(current, fallback.replicas),
        }[fallback.behavior]
        return float(replicas * self._triggers[i].lag_threshold), True

    def _is_active(self, i: int, metric: Metric, fell_back: bool) -> bool:
        if isinstance(metric, Exception):
            return False
        return fell_back or metric > self._triggers[i].activation_lag_threshold

    def _cooled_down(self, now: float) -> bool:
        since = self._created if self._last_active is None else self._last_active
        # At or after: KEDA asks for strictly after, of a last activity that it stored cut to whole seconds.
        return now >= since + self._cooldown()

    def _cooldown(self) -> int:
        return self._spec.initial_cooldown_period if self._last_active is None else self._spec.cooldown_period


class Hpa:
    """The HorizontalPodAutoscaler that KEDA makes of a ScaledObject: external metrics of type AverageValue."""

    def __init__(self, scaled: ScaledObject) -> None:
        behavior = scaled.spec.behavior
        self._targets = [t.lag_threshold for t in scaled.triggers]
        self._min = max(1, scaled.spec.min_replica_count)
        self._max = scaled.spec.max_replica_count
        self._has_behavior = behavior is not None
        self._up = _rules(behavior.scale_up if behavior else None, 0, _UP_POLICIES)
        self._down = _rules(behavior.scale_down if behavior else None, STABILIZATION_S, _DOWN_POLICIES)
        self._kept_recommendations = max(self._up.window, self._down.window)
        self._kept_events = max(p.period_seconds for r in (self._up, self._down) for p in r.policies)
        self._recommendations: deque[tuple[float, int]] = deque()
        self._events: deque[tuple[float, int]] = deque()

    def needs_metrics(self, current: int) -> bool:
        """Whether the count is one that metrics may change, rather than the bounds alone."""
        return self._min <= current <= self._max

    def sync(self, now: float, metrics: Sequence[Metric], current: int) -> Decision:
        """One sync: the replicas to run, given what KEDA serves for each trigger."""
        if not self._recommendations:
            self._recommendations.append((now, current))
        decision = self._decide(now, metrics, current)
        if decision.desired != current and self._has_behavior:
            self._events.append((now, decision.desired - current))
        return decision

    def _decide(self, now: float, metrics: Sequence[Metric], current: int) -> Decision:
        if current == 0:
            return Decision(0, "at rest")
        if current > self._max:
            return Decision(self._max, "above maxReplicaCount")
        if current < self._min:
            return Decision(self._min, "below minReplicaCount")
        proposals = [
            self._proposal(m, target, current)
            for m, target in zip(metrics, self._targets, strict=True)
            if not isinstance(m, Exception)
        ]
        proposed = max(proposals, default=-1)
        if len(proposals) < len(metrics) and proposed < current:
            return Decision(current, f"held, as a trigger can't be read: {_first_error(metrics)}")
        stable = self._stabilise(now, proposed, current)
        desired = self._limit(now, stable, current)
        return Decision(desired, self._explain(metrics, proposed, stable, desired))

    def _proposal(self, metric: float, target: int, current: int) -> int:
        # Metrics travel as whole thousandths.
        metric = int(metric * 1000) / 1000
        usage = metric / (target * current)
        if 1 - self._down.tolerance <= usage <= 1 + self._up.tolerance:
            return current
        return math.ceil(metric / target)

    def _stabilise(self, now: float, proposed: int, current: int) -> int:
        """Up to the lowest recommendation of the up window, down to the highest of the down window."""
        past = self._recommendations
        while past and past[0][0] < now - self._kept_recommendations:
            past.popleft()
        if self._has_behavior:
            low = min((n for t, n in past if t > now - self._up.window), default=proposed)
            high = max((n for t, n in past if t > now - self._down.window), default=proposed)
            stable = min(max(current, min(low, proposed)), max(high, proposed))
        else:
            stable = max((n for t, n in past if t >= now - STABILIZATION_S), default=proposed)
            stable = max(stable, proposed)
        past.append((now, proposed))
        return stable

    def _limit(self, now: float, stable: int, current: int) -> int:
        if not self._has_behavior:
            ceiling = min(self._max, max(UP_FACTOR * current, UP_MINIMUM))
            return min(max(stable, self._min), ceiling)
        while self._events and self._events[0][0] < now - self._kept_events:
            self._events.popleft()
        if stable > current:
            ceiling = self._rate_limit(now, current, self._up, _most_up, max, min)
            return min(stable, self._max, max(ceiling, current))
        if stable < current:
            floor = self._rate_limit(now, current, self._down, _most_down, min, max)
            return max(stable, self._min, min(floor, current))
        return current

    def _rate_limit(
        self,
        now: float,
        current: int,
        rules: _Rules,
        reach: Callable[[Policy, int], int],
        widest: Callable[..., int],
        narrowest: Callable[..., int],
    ) -> int:
        """How far the policies let the count go from where it was when their periods began."""
        if rules.select == "Disabled":
            return current
        select = narrowest if rules.select == "Min" else widest
        return select(reach(p, current - self._change(now, p.period_seconds)) for p in rules.policies)

    def _change(self, now: float, period: int) -> int:
        """Replicas added, less those removed, in the last `period` seconds."""
        return sum(change for t, change in self._events if t > now - period)

    def _explain(self, metrics: Sequence[Metric], proposed: int, stable: int, desired: int) -> str:
        lag = ", ".join(
            f"{m:g} of {target} a replica"
            for m, target in zip(metrics, self._targets, strict=True)
            if not isinstance(m, Exception)
        )
        text = f"lag {lag}: {proposed} wanted"
        if stable != proposed:
            text += f", {stable} after stabilisation"
        if desired != stable:
            text += f", {desired} within policies and bounds"
        return text


def _most_up(policy: Policy, start: int) -> int:
    if policy.type == "Pods":
        return start + policy.value
    return math.ceil(start * (1 + policy.value / 100))


def _most_down(policy: Policy, start: int) -> int:
    if policy.type == "Pods":
        return start - policy.value
    return int(start * (1 - policy.value / 100))


def _basis(seen: Sequence[tuple[Metric, bool]], metrics: Sequence[Metric]) -> str:
    return f"fallback, as {_first_error(metrics)}: " if any(fell_back for _, fell_back in seen) else ""


def _first_error(metrics: Sequence[Metric]) -> str:
    return next((str(m) or type(m).__name__ for m in metrics if isinstance(m, Exception)), "")
