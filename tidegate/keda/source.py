"""KEDA's view of triggers before a decision: metrics, errors, fallbacks, a formula's sum. Pure.

    sources = Sources(scaled)
    polled = sources.poll(metrics, current)      # at KEDA's poll: active, and errors
    sources.serve(metrics, current, has)         # at the HPA's sync: `served`

Values and targets are whole thousandths, as Kubernetes carries them. Sources: KEDA's `pkg/scaling/scale_handler.go`,
`pkg/scaling/modifiers/formula.go`, `pkg/scalers/{scaler,prometheus_scaler}.go` and `pkg/fallback/fallback.go`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, TypeGuard

import msgspec

from tidegate.keda.scaledobject import (
    IF_HIGHER,
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
    """An external scaler's reply: its metric, whose target is 1, and IsActive."""

    value: float
    active: bool


class NoMetricSpec(Exception):
    """GetMetricSpec failed: no scaler answers at `scalerAddress`, or it refuses the metadata.

    KEDA then refuses every metric of the ScaledObject, and no fallback applies. For other kinds of triggers it is an
    ordinary error.
    """


class NoSeries(Exception):
    """A `prometheus` trigger's query found nothing, which counts as 0."""


# A `nats-jetstream` trigger gives its lag, a `metrics-api` one the number on its page, a `prometheus` one its query's
# result. An external trigger gives a Reading, or a number that is active above 0. An exception is an error.
Metric: TypeAlias = float | Reading | Exception


class TriggerMetric:
    """One trigger as KEDA serves it: `value` and `target` in thousandths, or an `error`.

    active: as the trigger reports, or true during a fallback. fallback_for: the error behind a fallback.
    """

    __slots__ = (
        "_activation",
        "_failures",
        "_fallback",
        "_trigger",
        "active",
        "error",
        "fallback_for",
        "label",
        "target",
        "value",
    )

    def __init__(self, trigger: Trigger, fallback: Fallback | None, modifiers: ScalingModifiers | None) -> None:
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
        if modifiers:  # the HPA uses no trigger's own target
            self.target = int(modifiers.target) * 1000
        self._trigger = trigger
        self._fallback = fallback
        self._failures = 0
        self.value = 0
        self.active = False
        self.error: Exception | None = None
        self.fallback_for: Exception | None = None

    def record(self, metric: Metric, current: int) -> None:
        """Record an answer of the trigger. Each failure in a row counts towards the fallback's threshold."""
        self.value, self.active = 0, False
        self.error = self.fallback_for = None
        if isinstance(self._trigger, PrometheusTrigger) and _is_null(metric):
            metric = 0.0
        if self.lacks_spec(metric):
            self.error = metric
        elif isinstance(metric, Exception):
            self._fail(metric, current)
        else:
            self._failures = 0
            value = metric.value if isinstance(metric, Reading) else metric
            self.value = _milli(value)
            # Compare before rounding to thousandths.
            self.active = metric.active if isinstance(metric, Reading) else metric > self._activation

    def lacks_spec(self, metric: Metric) -> TypeGuard[NoMetricSpec]:
        """Whether KEDA has no metric specification of this trigger."""
        return isinstance(self._trigger, ExternalTrigger) and isinstance(metric, NoMetricSpec)

    def _fail(self, error: Exception, current: int) -> None:
        self._failures += 1
        fallback = self._fallback
        if fallback is None or self._failures <= fallback.failure_threshold:
            self.error = error
            return
        replicas = max(current, fallback.replicas) if fallback.behavior == IF_HIGHER else fallback.replicas
        self.value = self.target * replicas
        self.active = True
        self.fallback_for = error


class CompositeMetric:
    """The sum of the triggers' metrics, which the HPA gets in place of them where the file has a formula."""

    __slots__ = ("_triggers", "error", "fallback_for", "label", "target", "value")

    def __init__(self, triggers: Sequence[TriggerMetric]) -> None:
        self._triggers = triggers
        self.target = triggers[0].target
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
        self._composite = CompositeMetric(self._triggers) if modifiers else None
        self.served: Sequence[TriggerMetric | CompositeMetric] = (
            [self._composite] if self._composite else self._triggers
        )

    def poll(self, metrics: Sequence[Metric], current: int) -> Polled:
        """Record each trigger's answer at KEDA's poll."""
        error = fallback_for = None
        active = False
        for trigger, metric in zip(self._triggers, metrics, strict=True):
            trigger.record(metric, current)
            active = active or trigger.active
            error = error or trigger.error
            fallback_for = fallback_for or trigger.fallback_for
        if self._composite:
            self._composite.combine()
            active = error is None and self._composite.active
        return Polled(active, error, fallback_for)

    def serve(self, metrics: Sequence[Metric], current: int, has: Sequence[bool]) -> None:
        """Record each trigger's answer at the HPA's sync; `served` then has the HPA's metrics.

        has: for each trigger, whether the HPA has its metric.
        """
        refusal = None
        for trigger, metric in zip(self._triggers, metrics, strict=True):
            trigger.record(metric, current)
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


def _is_null(metric: Metric) -> bool:
    """Whether Prometheus' answer is a null value to KEDA."""
    return isinstance(metric, NoSeries) or (isinstance(metric, float) and not math.isfinite(metric))


def _milli(value: float) -> int:
    """Return a trigger's number in whole thousandths. NaN, infinities and negative numbers become 0.

    It rounds as KEDA's `pkg/scalers/scaler.go` does.
    """
    if value % 1 == 0 and value >= 0:
        return int(value) * 1000
    return round(round(value, 3) * 1000) if 0 <= value < math.inf else 0
