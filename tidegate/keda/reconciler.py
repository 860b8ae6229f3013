"""KEDA's reconciler: the triggers that the HPA is created from, and when it is recreated. Pure.

    reconciler = Reconciler(scaled, now)
    if now >= reconciler.next_at:
        reconciler.reconcile(now, metrics)
    reconciler.has          # for each trigger, whether the HPA has its metric
    reconciler.ready        # the condition Ready: True, False, or None for Unknown

The scaler of an external trigger gives its metric's name and target (GetMetricSpec). If it gives none at that moment,
the HPA is created without it, and is Ready. The HPA is recreated once Ready becomes True again. If no trigger has a
metric, the retry interval doubles each time. KEDA 2.20 behaves so. In its main of August 2026, a push scaler that
streams its metric's specification also has the HPA recreated.

Source: KEDA's `controllers/keda/{scaledobject_controller,hpa}.go` and `controllers/keda/util/predicate.go`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tidegate.keda.scaledobject import ExternalTrigger, ScaledObject
from tidegate.keda.source import Metric, NoMetricSpec

# controller-runtime's rate limiter for failures.
FIRST_RETRY_S = 0.005
LAST_RETRY_S = 1000.0


class Reconciler:
    """See the module. has_hpa: without an HPA, KEDA polls nothing. next_at: when it reconciles."""

    def __init__(self, scaled: ScaledObject, now: float) -> None:
        self._external = [isinstance(trigger, ExternalTrigger) for trigger in scaled.triggers]
        self.has = [True] * len(self._external)
        self.has_hpa = True
        self.ready: bool | None = True
        self.next_at = now if any(self._external) else math.inf
        self._is_new = True
        self._failures = 0

    def reconcile(self, now: float, metrics: Sequence[Metric]) -> None:
        """Create the HPA, or recreate it, from the triggers that have a metric now."""
        answered = [
            not (external and isinstance(metric, NoMetricSpec))
            for external, metric in zip(self._external, metrics, strict=True)
        ]
        self.next_at = math.inf
        if any(answered):
            self.has, self.has_hpa, self.ready = answered, True, True
            self._is_new, self._failures = False, 0
            return
        # An existing HPA stays unchanged.
        self.has_hpa = not self._is_new
        self.next_at = now + min(LAST_RETRY_S, FIRST_RETRY_S * 2**self._failures)
        self._failures += 1
        self.ready = False

    def record_ready(self, now: float, ready: bool | None) -> None:
        """Record the condition Ready after a poll, or a push."""
        if ready and not self.ready:
            self.next_at = now
        self.ready = ready
