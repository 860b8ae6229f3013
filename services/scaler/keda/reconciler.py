"""KEDA's reconciler: of which triggers the HPA is made, and when it is made anew. Pure.

    reconciler = Reconciler(scaled, now)
    if now >= reconciler.next_at:
        reconciler.reconcile(now, metrics)
    reconciler.has          # for each trigger, whether the HPA has its metric
    reconciler.ready        # the condition Ready: True, False, or None where it is Unknown

An external trigger's metric has the name and the target that its scaler gives (GetMetricSpec). Where one gives none at
that moment, the HPA is made without it, and is Ready. It is made anew once Ready was not True and is so again. Where no
trigger at all has a metric, it is tried again after twice as long each time. So it is in KEDA 2.20. In its main of
August 2026 a push scaler that streams its metric's specification has the HPA made anew as well.

Source: KEDA's `controllers/keda/{scaledobject_controller,hpa}.go` and `controllers/keda/util/predicate.go`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.scaler.keda.scaledobject import ExternalTrigger, ScaledObject
from services.scaler.keda.source import Metric, NoMetricSpec

# controller-runtime's rate limiter for what has failed.
FIRST_RETRY_S = 0.005
LAST_RETRY_S = 1000.0


class Reconciler:
    """See the module. made: whether there is an HPA; before that KEDA polls nothing. next_at: when it reconciles."""

    def __init__(self, scaled: ScaledObject, now: float) -> None:
        self._external = [isinstance(trigger, ExternalTrigger) for trigger in scaled.triggers]
        self.has = [True] * len(self._external)
        self.has_hpa = True
        self.ready: bool | None = True
        self.next_at = now if any(self._external) and not scaled.paused else math.inf
        self._is_new = True
        self._failures = 0

    def reconcile(self, now: float, metrics: Sequence[Metric]) -> None:
        """Make the HPA, or make it anew, of what has a metric now."""
        answered = [
            not (external and isinstance(metric, NoMetricSpec))
            for external, metric in zip(self._external, metrics, strict=True)
        ]
        self.next_at = math.inf
        if any(answered):
            self.has, self.has_hpa, self.ready = answered, True, True
            self._is_new, self._failures = False, 0
            return
        # One that is there already stays as it is.
        self.has_hpa = not self._is_new
        self.next_at = now + min(LAST_RETRY_S, FIRST_RETRY_S * 2**self._failures)
        self._failures += 1
        self.ready = False

    def record_ready(self, now: float, ready: bool | None) -> None:
        """Take what Ready is after a poll, or a push."""
        if ready and not self.ready:
            self.next_at = now
        self.ready = ready
