"""How many replicas KEDA and the HPA would run, given metrics and a clock. Pure.

    keda = Keda(scaled_object, now=0.0)
    while True:
        decision = keda.step(now, [lag], replicas)      # any time; it acts when one of its clocks is due
        replicas = decision.desired
        now = keda.next_at                              # nothing changes before, but by a push

Two controllers decide, each at its own pace. KEDA polls every `pollingInterval` and alone moves between nothing and
something: active (metric > activation threshold) starts `max(1, minReplicaCount)`, `cooldownPeriod` without activity
writes the idle count. Between, the HPA syncs every 15 s: ceil(metric / target), held inside a tolerance, stabilised
over past recommendations, limited in rate.

A step is run millions of times by a simulation: reasons are put into words only when read, and the extremes of the
stabilisation windows are kept, not searched.

Sources: KEDA's main of August 2026, `pkg/scaling/executor/scale_scaledobjects.go`, `pkg/scaling/scale_handler.go`,
`pkg/scaling/modifiers/formula.go`, `pkg/fallback/fallback.go` and `controllers/keda/hpa.go`; Kubernetes,
`pkg/controller/podautoscaler/{horizontal,replica_calculator}.go` and `pkg/apis/autoscaling/v2/defaults.go`, with the
tolerance of each direction from 1.33.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from services.scaler.keda.formula import FormulaError
from services.scaler.keda.scaledobject import (
    AVERAGE_VALUE,
    ExternalTrigger,
    Fallback,
    JetStreamTrigger,
    Modifiers,
    Policy,
    ScaledObject,
    ScalingRules,
    Trigger,
)

# kube-controller-manager's defaults: sync period, tolerance, downscale stabilisation.
SYNC_S = 15.0
TOLERANCE = 0.1
STABILIZATION_S = 300

# Without `behavior`, one sync at most doubles the replicas, or brings them to 4.
UP_FACTOR = 2
UP_MINIMUM = 4

BECAME_ACTIVE = "a trigger became active"

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


class Reading(msgspec.Struct, frozen=True):
    """What an external scaler answers: its metric, IsActive, and the target of its GetMetricSpec."""

    value: float
    active: bool
    target: float = 1.0


# A `nats-jetstream` trigger's metric is its lag; an external trigger's a Reading, or a number for one with target 1
# that is active above 0. An error of an external trigger is one of GetMetrics or IsActive: a GetMetricSpec that fails
# gives KEDA no metric to apply a fallback to.
Metric = float | Reading | Exception


class Decision(msgspec.Struct, frozen=True):
    """Replicas to run from now on. cause: a text, or what turns into one."""

    desired: int
    cause: object

    @property
    def reason(self) -> str:
        """Why, for a log line."""
        return str(self.cause)


class Held(msgspec.Struct, frozen=True):
    """A cause: a trigger or the formula gives no number, so nothing changes."""

    error: Exception

    def __str__(self) -> str:
        return f"held, as a trigger can't be read: {_words(self.error)}"


# A metric that the HPA saw: label, value and target in thousandths, whether the target is of one replica.
Seen = tuple[str, int, int, bool]


class Wanted(msgspec.Struct, frozen=True):
    """A cause: what the HPA made of its metrics."""

    seen: tuple[Seen, ...]
    proposed: int
    stable: int
    desired: int
    fallback_for: Exception | None

    def __str__(self) -> str:
        text = ", ".join(
            f"{label} {value / 1000:g} of {target / 1000:g} {'a replica' if per_replica else 'in all'}"
            for label, value, target, per_replica in self.seen
        )
        text = f"{_basis(self.fallback_for)}{text}: {self.proposed} wanted"
        if self.stable != self.proposed:
            text += f", {self.stable} after stabilisation"
        if self.desired != self.stable:
            text += f", {self.desired} within policies and bounds"
        return text


class Source:
    """One trigger as KEDA serves it: `value` and `target` in thousandths, or an `error`.

    active: as the trigger says, or as a fallback counts. fallback_for: the error that a fallback stands in for.
    absent: it failed too often, and is nil in the formula. per_replica: AverageValue, as against Value.
    """

    __slots__ = (
        "_activation",
        "_asks_for_target",
        "_failures",
        "_fallback",
        "_given_target",
        "_record",
        "absent",
        "active",
        "cached",
        "error",
        "fallback_for",
        "label",
        "name",
        "per_replica",
        "target",
        "value",
    )

    def __init__(self, trigger: Trigger, fallback: Fallback | None, modifiers: Modifiers | None) -> None:
        self.name = trigger.name
        self.cached = trigger.use_cached_metrics
        self.per_replica = (modifiers or trigger).metric_type == AVERAGE_VALUE
        if isinstance(trigger, JetStreamTrigger):
            self.target, self._activation = trigger.lag_threshold * 1000, trigger.activation_lag_threshold * 1000
            self.label = "lag"
        else:
            self.target, self._activation = 1000, 0
            self.label = trigger.name or "metric"
        # With a formula, the HPA knows of no trigger's own target.
        self._asks_for_target = isinstance(trigger, ExternalTrigger) and not modifiers
        self._given_target = 1.0
        if modifiers:
            self.target = int(modifiers.target * 1000)
        self._fallback = fallback
        self._failures = 0
        self._record: int | Exception | None = None
        self.value = 0
        self.active = self.absent = False
        self.error: Exception | None = None
        self.fallback_for: Exception | None = None

    def ask(self, metric: Metric, current: int, ready: int) -> None:
        """Take an answer of the trigger. Each question counts towards the fallback's threshold."""
        if isinstance(metric, Exception):
            self._fail(metric, current, ready)
            return
        if isinstance(metric, Reading):
            if metric.target != self._given_target and self._asks_for_target:
                target = _milli(metric.target)
                if not target:
                    error = ValueError(f"the scaler's target is {metric.target:g}: it must be 0.001 or more")
                    self._fail(error, current, ready)
                    return
                self._given_target, self.target = metric.target, target
            value = _milli(metric.value)
            active = metric.active
        else:
            value = _milli(metric)
            active = value > self._activation
        self._answered(value, active)

    def poll(self, metric: Metric, current: int, ready: int) -> None:
        """As `ask`; what comes of it is kept where the trigger asks for cached metrics."""
        self.ask(metric, current, ready)
        if self.cached:
            self._record = self.error or self.value

    def sync(self, metric: Metric, current: int, ready: int) -> None:
        """As `ask`, or the record of the last poll. A recorded fallback counts as an answer, as it does in KEDA."""
        if self._record is None:
            self.ask(metric, current, ready)
        elif isinstance(self._record, Exception):
            self._fail(self._record, current, ready)
        else:
            self._answered(self._record, self.active)

    def _answered(self, value: int, active: bool) -> None:
        self.value = value
        self.active = active
        self.error = self.fallback_for = None
        self.absent = False
        self._failures = 0

    def _fail(self, error: Exception, current: int, ready: int) -> None:
        fallback = self._fallback
        self._failures += 1
        self.value = 0
        self.active = self.absent = False
        self.error, self.fallback_for = error, None
        if fallback is None or self._failures <= fallback.failure_threshold:
            return
        if fallback.behavior == "scalingModifiers":
            self.absent, self.error = True, None
        elif self.per_replica or ready:
            replicas: float = _fallback_replicas(fallback, current)
            # A target of all replicas together is met by its share of them.
            self.value = int(self.target * (replicas if self.per_replica else replicas / ready))
            self.active = True
            self.error, self.fallback_for = None, error


class Composite:
    """What a formula makes of the sources, served to the HPA in their place."""

    __slots__ = (
        "_fallback",
        "_modifiers",
        "_sources",
        "error",
        "fallback_for",
        "label",
        "per_replica",
        "target",
        "value",
    )

    def __init__(self, sources: Sequence[Source], modifiers: Modifiers, fallback: Fallback | None) -> None:
        self._sources = sources
        self._modifiers = modifiers
        self._fallback = fallback
        self.target = int(modifiers.target * 1000)
        self.per_replica = modifiers.metric_type == AVERAGE_VALUE
        self.label = "formula"
        self.value = 0
        self.error: Exception | None = None
        self.fallback_for: Exception | None = None

    @property
    def active(self) -> bool:
        return self.error is None and self.value > self._modifiers.activation_target * 1000

    def combine(self) -> None:
        """Run the formula over what the sources have; any fallback goes past it, and covers other sources' errors."""
        self.fallback_for = self.error = None
        for source in self._sources:
            if source.fallback_for:
                self.value, self.fallback_for, self.error = source.value, source.fallback_for, None
                return
            self.error = self.error or source.error
        if self.error is None:
            try:
                self.value = _go_milli(self._evaluate())
            except FormulaError as e:
                self.error = e

    def _evaluate(self) -> float:
        result = self._modifiers.formula.evaluate({s.name: None if s.absent else s.value / 1000 for s in self._sources})
        if result is not None:
            return result
        if self._fallback is None:
            raise FormulaError("the formula gives nil, and there is no fallback")
        return self._fallback.replicas * self._modifiers.target


class Keda:
    """Both controllers of one ScaledObject. `now` is in seconds of any clock that does not step back."""

    def __init__(self, scaled: ScaledObject, now: float) -> None:
        spec, modifiers = scaled.spec, scaled.modifiers
        self._scaled = scaled
        self._spec = spec
        self._sources = [Source(trigger, spec.fallback, modifiers) for trigger in scaled.triggers]
        self._composite = Composite(self._sources, modifiers, spec.fallback) if modifiers else None
        self._served = [self._composite] if self._composite else self._sources
        self._created = now
        self._last_active: float | None = None
        self._hpa = Hpa(scaled)
        self._cause: object = "started"
        self._next_poll = now
        # The two controllers are not in step in a cluster: half a period is the mean of what is met there.
        self._next_sync = now + SYNC_S / 2

    @property
    def next_at(self) -> float:
        """The time of the next poll or sync: `step` before it changes nothing."""
        return self._next_poll if self._next_poll < self._next_sync else self._next_sync

    def step(self, now: float, metrics: Sequence[Metric], current: int, ready: int | None = None) -> Decision:
        """What to run, given a value or an error for each trigger, in the file's order, and the replicas asked for now.

        Late calls are taken as the controllers take theirs: each runs once, and its period starts anew. `ready`, the
        replicas that serve already (by default all of them), matters to targets of type Value alone.
        """
        desired = current
        if ready is None:
            ready = current
        if now >= self._next_poll:
            self._next_poll = now + self._spec.polling_interval
            desired = self._poll(now, metrics, desired, ready)
        if now >= self._next_sync:
            self._next_sync = now + SYNC_S
            if not self._scaled.paused:
                return self._sync(now, metrics, desired, ready, just_written=desired != current)
        return Decision(desired, self._cause)

    def push(self, now: float, current: int) -> Decision:
        """What to run after an `external-push` scaler has streamed `true`, at any time; its `false` changes nothing.

        It activates at once, whatever a formula says, and counts as activity.
        """
        desired = current if self._scaled.paused else self._activate(now, current, "a trigger pushed its activity")
        return Decision(desired, self._cause)

    def _poll(self, now: float, metrics: Sequence[Metric], current: int, ready: int) -> int:
        scaled, spec = self._scaled, self._spec
        if scaled.paused:
            count = scaled.paused_replicas
            return self._because("paused by annotation", current if count is None else count)
        error = fallback_for = None
        active = False
        for source, metric in zip(self._sources, metrics, strict=True):
            source.poll(metric, current, ready)
            active = active or source.active
            error = error or source.error
            fallback_for = fallback_for or source.fallback_for
        if self._composite:
            self._composite.combine()
            active = error is None and self._composite.active
        if active:
            return self._activate(now, current, BECAME_ACTIVE, failed=error is not None, fallback_for=fallback_for)
        if scaled.force_activation:
            return self._activate(now, current, "activation is forced by annotation", failed=error is not None)
        if error and (spec.fallback is None or spec.fallback.replicas > 0):
            # Blind is not idle: the count is held, so that the HPA can still apply the fallback.
            return self._because(Held(error), current)
        return self._rest(now, current)

    def _activate(
        self, now: float, current: int, why: str, *, failed: bool = False, fallback_for: Exception | None = None
    ) -> int:
        spec = self._spec
        if current == 0 or (spec.idle_replica_count is not None and current < spec.min_replica_count):
            if self._scaled.paused_scale_out:
                return self._because("held, as scaling out is paused by annotation", current)
            self._last_active = now
            return self._because(_basis(fallback_for) + why, max(1, spec.min_replica_count))
        if not failed:
            self._last_active = now
        return current

    def _rest(self, now: float, current: int) -> int:
        """Without activity: down to the idle count after the cooldown, or up to the minimum."""
        spec = self._spec
        idle = spec.idle_replica_count
        rest = spec.min_replica_count if idle is None else idle
        if current > rest and (idle is not None or rest == 0):
            if self._scaled.paused_scale_in:
                return self._because("held, as scaling in is paused by annotation", current)
            if self._cooled_down(now):
                return self._because(f"no trigger was active for {self._cooldown():g} s", rest)
        elif idle is None and current < rest:
            return self._because("below minReplicaCount", rest)
        return current

    def _sync(self, now: float, metrics: Sequence[Metric], current: int, ready: int, *, just_written: bool) -> Decision:
        # The HPA asks for metrics only where it may act.
        if self._hpa.needs_metrics(current):
            for source, metric in zip(self._sources, metrics, strict=True):
                source.sync(metric, current, ready)
            if self._composite:
                self._composite.combine()
        decision = self._hpa.sync(now, self._served, current, ready)
        if just_written and decision.desired == current:
            return Decision(current, self._cause)  # KEDA's own reason stands
        self._cause = decision.cause
        return decision

    def _because(self, cause: object, desired: int) -> int:
        self._cause = cause
        return desired

    def _cooled_down(self, now: float) -> bool:
        since = self._created if self._last_active is None else self._last_active
        # At or after: KEDA asks for strictly after, of a last activity that it stored cut to whole seconds.
        return now >= since + self._cooldown()

    def _cooldown(self) -> int:
        return self._spec.initial_cooldown_period if self._last_active is None else self._spec.cooldown_period


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


def _rules(given: ScalingRules | None, window: int, policies: tuple[Policy, ...], *, paused: bool) -> _Rules:
    given = given or ScalingRules()
    return _Rules(
        window=window if given.stabilization_window_seconds is None else given.stabilization_window_seconds,
        select="Disabled" if paused else given.select_policy or "Max",
        policies=given.policies or policies,
        tolerance=TOLERANCE if given.tolerance is None else given.tolerance,
    )


class Hpa:
    """The HorizontalPodAutoscaler that KEDA makes of a ScaledObject: external metrics of type AverageValue or Value."""

    def __init__(self, scaled: ScaledObject) -> None:
        behavior = scaled.spec.behavior
        self._min = max(1, scaled.spec.min_replica_count)
        self._max = scaled.spec.max_replica_count
        # KEDA writes a pause of one direction into `behavior`, and so makes one where there was none.
        self._has_behavior = behavior is not None or scaled.paused_scale_in or scaled.paused_scale_out
        self._up = _rules(behavior.scale_up if behavior else None, 0, _UP_POLICIES, paused=scaled.paused_scale_out)
        self._down = _rules(
            behavior.scale_down if behavior else None, STABILIZATION_S, _DOWN_POLICIES, paused=scaled.paused_scale_in
        )
        self._least_usage = 1 - self._down.tolerance
        self._most_usage = 1 + self._up.tolerance
        # The lowest is the greatest of the negated; of no window it is the newest.
        self._lows = _Peak(self._up.window) if self._up.window else None
        self._highs = _Peak(self._down.window, closed=not self._has_behavior)
        self._kept_events = max(p.period_seconds for r in (self._up, self._down) for p in r.policies)
        self._events: deque[tuple[float, int]] = deque()
        self._is_new = True

    def needs_metrics(self, current: int) -> bool:
        """Whether the count is one that metrics may change, rather than the bounds alone."""
        return self._min <= current <= self._max

    def sync(self, now: float, served: Sequence[Source | Composite], current: int, ready: int) -> Decision:
        """One sync: the replicas to run, given what KEDA serves."""
        if self._is_new:
            self._is_new = False
            self._remember(now, current)
        if not self._min <= current <= self._max:
            return self._into_bounds(now, current)
        proposed = -MAX_INT64
        error = fallback_for = None
        seen: tuple[Seen, ...] = ()
        for s in served:
            if s.error is None:
                proposal = self._proposal(s, current, ready)
                if proposal > proposed:
                    proposed = proposal
                seen += ((s.label, s.value, s.target, s.per_replica),)
            error = error or s.error
            fallback_for = fallback_for or s.fallback_for
        if error and proposed < current:
            return Decision(current, Held(error))
        low, high = self._remember(now, proposed)
        stable = min(max(current, low), high)
        desired = self._limit(now, stable, current)
        if desired != current:
            self._record(now, desired - current)
        return Decision(desired, Wanted(seen, proposed, stable, desired, fallback_for))

    def _into_bounds(self, now: float, current: int) -> Decision:
        if current == 0:
            return Decision(0, "at rest")
        desired = min(max(current, self._min), self._max)
        self._record(now, desired - current)
        return Decision(desired, "above maxReplicaCount" if current > desired else "below minReplicaCount")

    def _proposal(self, s: Source | Composite, current: int, ready: int) -> int:
        usage, target = s.value, s.target
        if not s.per_replica:
            ratio = usage / target
            if self._least_usage <= ratio <= self._most_usage:
                return current
            return min(math.ceil(ratio * ready), MAX_INT32)
        if usage < 0:
            # Only a formula gives less than 0. Kubernetes takes it for a sum that overflowed.
            usage = MAX_INT64
        if self._least_usage <= usage / (target * current) <= self._most_usage:
            return current
        return min(math.ceil(usage / target), MAX_INT32)

    def _remember(self, now: float, proposed: int) -> tuple[int, int]:
        """Up to the lowest recommendation of the up window, down to the highest of the down window: both of them."""
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
        reach: Callable[[Policy, int], int],
        widest: Callable[..., int],
        narrowest: Callable[..., int],
    ) -> int:
        """How far the policies let the count go from where it was when their periods began."""
        if rules.select == "Disabled":
            return current
        select = narrowest if rules.select == "Min" else widest
        return select([reach(p, current - self._change(now, p.period_seconds)) for p in rules.policies])

    def _change(self, now: float, period: int) -> int:
        """Replicas added, less those removed, in the last `period` seconds."""
        if not self._events:
            return 0
        return sum([change for t, change in self._events if t > now - period])

    def _record(self, now: float, change: int) -> None:
        if self._has_behavior:
            while self._events and self._events[0][0] < now - self._kept_events:
                self._events.popleft()
            self._events.append((now, change))


class _Peak:
    """The greatest of the numbers of the last `window` seconds, which reaches to just before its start, or to it."""

    __slots__ = ("_closed", "_kept", "_window")

    def __init__(self, window: float, *, closed: bool = False) -> None:
        self._window = window
        self._closed = closed
        # Of falling numbers: an older, smaller one can never be the greatest again.
        self._kept: deque[tuple[float, int]] = deque()

    def add(self, now: float, number: int) -> int:
        """The greatest, with `number` among them."""
        kept = self._kept
        start = now - self._window
        while kept and (kept[0][0] < start or (kept[0][0] == start and not self._closed)):
            kept.popleft()
        while kept and kept[-1][1] <= number:
            kept.pop()
        kept.append((now, number))
        return kept[0][1]


def _most_up(policy: Policy, start: int) -> int:
    if policy.type == "Pods":
        return start + policy.value
    return math.ceil(start * (1 + policy.value / 100))


def _most_down(policy: Policy, start: int) -> int:
    if policy.type == "Pods":
        return start - policy.value
    return int(start * (1 - policy.value / 100))


def _fallback_replicas(fallback: Fallback, current: int) -> int:
    match fallback.behavior:
        case "currentReplicas":
            return current
        case "currentReplicasIfHigher":
            return max(current, fallback.replicas)
        case "currentReplicasIfLower":
            return min(current, fallback.replicas)
        case _:
            return fallback.replicas


def _milli(value: float) -> int:
    """A trigger's number in the whole thousandths that it travels in; what is no number, or below 0, is 0.

    Rounded, as by KEDA's `pkg/scalers/scaler.go`.
    """
    if value % 1 == 0 and value >= 0:
        return int(value) * 1000
    return round(round(value, 3) * 1000) if 0 <= value < math.inf else 0


def _go_milli(value: float) -> int:
    """A formula's number in thousandths, cut as by Go's int64(): on amd64 what doesn't fit becomes the least int64."""
    milli = value * 1000
    return int(milli) if -MAX_INT64 <= milli < MAX_INT64 else -MAX_INT64 - 1


def _basis(fallback_for: Exception | None) -> str:
    return f"fallback, as {_words(fallback_for)}: " if fallback_for else ""


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
