"""KEDA's view of triggers before a decision: metrics, errors, fallbacks, a formula's sum. Pure.

    sources = Sources(scaled)
    polled = sources.poll(metrics, current, ready)      # at KEDA's poll: active, and errors
    served = sources.serve(metrics, current, ready)     # at the HPA's sync: its metrics

Values and targets are whole thousandths, as Kubernetes carries them. Sources: KEDA's `pkg/scaling/scale_handler.go`,
`pkg/scaling/modifiers/formula.go`, `pkg/scalers/{scaler,prometheus_scaler}.go` and `pkg/fallback/fallback.go`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, TypeGuard

import msgspec

from services.scaler.keda.scaledobject import (
    AVERAGE_VALUE,
    ExternalTrigger,
    Fallback,
    JetStreamTrigger,
    MetricsApiTrigger,
    PrometheusTrigger,
    ScaledObject,
    ScalingModifiers,
    Trigger,
)


class Reading(msgspec.Struct, frozen=True):
    """An external scaler's reply: its metric, IsActive, and the target of its GetMetricSpec."""

    value: float
    active: bool
    target: float = 1.0


class NoMetricSpec(Exception):
    """GetMetricSpec failed: no scaler answers at `scalerAddress`, or it refuses the metadata.

    KEDA then refuses every metric of the ScaledObject, and no fallback applies. For other kinds of triggers it is an
    ordinary error.
    """


class NoSeries(Exception):
    """A `prometheus` trigger's query found nothing: 0 if the trigger ignores null values, else an error."""


# A `nats-jetstream` trigger gives its lag, a `metrics-api` one the number on its page, a `prometheus` one its query's
# result. An external trigger gives a Reading, or a number with a target of 1 that is active above 0. An exception is an
# error.
Metric: TypeAlias = float | Reading | Exception


class TriggerMetric:
    """One trigger as KEDA serves it: `value` and `target` in thousandths, or an `error`.

    active: as the trigger reports, or true during a fallback. fallback_for: the error behind a fallback. per_replica:
    the target's type is AverageValue, not Value.
    """

    __slots__ = (
        "_activation",
        "_asks_for_target",
        "_external",
        "_failures",
        "_fallback",
        "_null_is_zero",
        "_record",
        "_spec_target",
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

    def __init__(self, trigger: Trigger, fallback: Fallback | None, modifiers: ScalingModifiers | None) -> None:
        self.name = trigger.name
        self.cached = trigger.use_cached_metrics
        self.per_replica = trigger.metric_type == AVERAGE_VALUE
        if isinstance(trigger, JetStreamTrigger):
            self.target, self._activation = trigger.lag_threshold * 1000, float(trigger.activation_lag_threshold)
            self.label = "lag"
        elif isinstance(trigger, MetricsApiTrigger):
            self.target, self._activation = _milli(trigger.target_value), trigger.activation_target_value
            self.label = trigger.name or trigger.value_location
        elif isinstance(trigger, PrometheusTrigger):
            self.target, self._activation = _milli(trigger.threshold), trigger.activation_threshold
            self.label = trigger.name or "query"
        else:
            self.target, self._activation = 1000, 0.0
            self.label = trigger.name or "metric"
        self._external = isinstance(trigger, ExternalTrigger)
        self._null_is_zero = trigger.ignore_null_values if isinstance(trigger, PrometheusTrigger) else None
        # With a formula, the HPA uses no trigger's own target.
        self._asks_for_target = self._external and not modifiers
        self._spec_target = 1.0
        if modifiers:
            self.target = int(modifiers.target) * 1000
        self._fallback = fallback
        self._failures = 0
        self._record: int | Exception | None = None
        self.value = 0
        self.active = False
        self.error: Exception | None = None
        self.fallback_for: Exception | None = None

    def ask(self, metric: Metric, current: int, ready: int) -> None:
        """Record an answer of the trigger. Each failure in a row counts towards the fallback's threshold."""
        if self.lacks_spec(metric):
            self.value, self.active = 0, False
            self.error, self.fallback_for = metric, None
            return
        if self._null_is_zero is not None:
            metric = _queried(metric, null_is_zero=self._null_is_zero)
        if isinstance(metric, Exception):
            self._fail(metric, current, ready)
            return
        if isinstance(metric, Reading):
            if metric.target != self._spec_target and self._asks_for_target:
                target = _milli(metric.target)
                if not target:
                    error = ValueError(f"the scaler's target is {metric.target:g}: it must be 0.001 or more")
                    self._fail(error, current, ready)
                    return
                self._spec_target, self.target = metric.target, target
            value = _milli(metric.value)
            active = metric.active
        else:
            value = _milli(metric)
            # Compare before rounding to thousandths.
            active = metric > self._activation
        self._succeed(value, active)

    def lacks_spec(self, metric: Metric) -> TypeGuard[NoMetricSpec]:
        """Whether KEDA has no metric specification of this trigger."""
        return self._external and isinstance(metric, NoMetricSpec)

    def poll(self, metric: Metric, current: int, ready: int) -> None:
        """Record an answer at KEDA's poll, and cache it if the trigger uses cached metrics."""
        self.ask(metric, current, ready)
        if self.cached and not self.lacks_spec(metric):
            self._record = self.error or self.value

    def serve(self, metric: Metric, current: int, ready: int) -> None:
        """Record an answer at the HPA's sync, or the cached one. A cached fallback counts as an answer, as in KEDA."""
        if self._record is None or self.lacks_spec(metric):
            self.ask(metric, current, ready)
        elif isinstance(self._record, Exception):
            self._fail(self._record, current, ready)
        else:
            self._succeed(self._record, self.active)

    def _succeed(self, value: int, active: bool) -> None:
        self.value = value
        self.active = active
        self.error = self.fallback_for = None
        self._failures = 0

    def _fail(self, error: Exception, current: int, ready: int) -> None:
        fallback = self._fallback
        self._failures += 1
        self.value = 0
        self.active = False
        self.error, self.fallback_for = error, None
        if fallback is None or self._failures <= fallback.failure_threshold:
            return
        if self.per_replica or ready:
            replicas: float = _fallback_replicas(fallback, current)
            # If the target is for all replicas together, the value for `replicas` is their share of it.
            self.value = int(self.target * (replicas if self.per_replica else replicas / ready))
            self.active = True
            self.error, self.fallback_for = None, error


class CompositeMetric:
    """The sum of the triggers' metrics, which the HPA gets in place of them where the file has a formula."""

    __slots__ = ("_triggers", "error", "fallback_for", "label", "per_replica", "target", "value")

    def __init__(self, triggers: Sequence[TriggerMetric], target: int) -> None:
        self._triggers = triggers
        self.target = target
        self.per_replica = True
        self.label = "formula"
        self.value = 0
        self.error: Exception | None = None
        self.fallback_for: Exception | None = None

    @property
    def active(self) -> bool:
        return self.error is None and self.value > 0

    def combine(self) -> None:
        """Add the triggers' metrics up. A trigger's fallback replaces the sum, and hides other triggers' errors."""
        self.value = sum(trigger.value for trigger in self._triggers)
        self.fallback_for = self.error = None
        for trigger in self._triggers:
            if trigger.fallback_for:
                self.value, self.fallback_for, self.error = trigger.value, trigger.fallback_for, None
                return
            self.error = self.error or trigger.error


class Polled(NamedTuple):
    """The result of one poll of all triggers: activity, the first error, and the first fallback's error."""

    active: bool
    error: Exception | None
    fallback_for: Exception | None


class Sources:
    """All triggers of a ScaledObject, in the file's order, and their sum if it has a formula."""

    def __init__(self, scaled: ScaledObject) -> None:
        fallback, modifiers = scaled.spec.fallback, scaled.spec.modifiers
        self._triggers = [TriggerMetric(trigger, fallback, modifiers) for trigger in scaled.triggers]
        self._composite = CompositeMetric(self._triggers, int(modifiers.target) * 1000) if modifiers else None
        self.served: Sequence[TriggerMetric | CompositeMetric] = (
            [self._composite] if self._composite else self._triggers
        )

    def poll(self, metrics: Sequence[Metric], current: int, ready: int) -> Polled:
        """Record each trigger's answer at KEDA's poll."""
        error = fallback_for = None
        active = False
        for trigger, metric in zip(self._triggers, metrics, strict=True):
            trigger.poll(metric, current, ready)
            active = active or trigger.active
            error = error or trigger.error
            fallback_for = fallback_for or trigger.fallback_for
        if self._composite:
            self._composite.combine()
            active = error is None and self._composite.active
        return Polled(active, error, fallback_for)

    def serve(self, metrics: Sequence[Metric], current: int, ready: int, has: Sequence[bool]) -> None:
        """Record each trigger's answer at the HPA's sync; `served` then has the HPA's metrics.

        has: for each trigger, whether the HPA has its metric.
        """
        refusal = None
        for trigger, metric in zip(self._triggers, metrics, strict=True):
            trigger.serve(metric, current, ready)
            if trigger.lacks_spec(metric):
                refusal = metric
        if self._composite:
            self._composite.combine()
            return
        if refusal:
            for trigger in self._triggers:
                if trigger.fallback_for is None:
                    trigger.error = refusal
        self.served = [trigger for trigger, named in zip(self._triggers, has, strict=True) if named]


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


def _queried(metric: Metric, *, null_is_zero: bool) -> Metric:
    """Return KEDA's metric for Prometheus' answer."""
    if isinstance(metric, NoSeries):
        return 0.0 if null_is_zero else metric
    if isinstance(metric, float) and not math.isfinite(metric):
        return 0.0 if null_is_zero else ValueError(f"the query gives {metric}")
    return metric


def _milli(value: float) -> int:
    """Return a trigger's number in whole thousandths. NaN, infinities and negative numbers become 0.

    It rounds as KEDA's `pkg/scalers/scaler.go` does.
    """
    if value % 1 == 0 and value >= 0:
        return int(value) * 1000
    return round(round(value, 3) * 1000) if 0 <= value < math.inf else 0
