"""The replicas that KEDA and the HPA would run, given metrics and a clock. Pure.

    keda = Keda(scaled_object, now=0.0)
    while True:
        decision = keda.step(now, [lag], replicas)      # any time; it acts at the times of its clocks
        replicas = decision.desired
        now = keda.next_at                              # before that, only a push or poll_next changes anything

Two controllers decide, each by its own clock. KEDA polls every `pollingInterval`, and its executor alone moves from and
to zero. Above zero, the HPA syncs every 15 s, by the metrics that it was created from. Each rule has one module.

Sources: KEDA's main of August 2026; Kubernetes, with the tolerance of each direction from 1.33. Each module names its
files.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.keda.executor import Executor
from tidegate.keda.hpa import SYNC_S, Hpa
from tidegate.keda.reason import Decision
from tidegate.keda.reconciler import Reconciler
from tidegate.keda.scaledobject import ExternalTrigger, ScaledObject
from tidegate.keda.source import Metric, Sources


class Keda:
    """Both controllers of one ScaledObject. `now` is in seconds of any clock that does not step back.

    sync_after_s: time of the HPA's first sync. In a cluster the controllers are not in step: half a period is the mean.
    """

    def __init__(self, scaled: ScaledObject, now: float, *, sync_after_s: float = SYNC_S / 2) -> None:
        self._polling_interval = scaled.spec.polling_interval
        self._sources = Sources(scaled)
        self._reconciler = Reconciler(scaled, now)
        self._pushes = next((i for i, t in enumerate(scaled.triggers) if isinstance(t, ExternalTrigger) and t.push), 0)
        self._executor = Executor(scaled)
        self._hpa = Hpa(scaled)
        self._cause: object = "started"
        self._next_poll = now
        self._sync_after_s = sync_after_s
        self._next_sync = now + sync_after_s

    @property
    def next_at(self) -> float:
        """When KEDA or the HPA acts next: an earlier `step` changes nothing."""
        if not self._reconciler.has_hpa:
            return self._reconciler.next_at
        earliest = self._next_poll if self._next_poll < self._next_sync else self._next_sync
        return earliest if earliest < self._reconciler.next_at else self._reconciler.next_at

    @property
    def ready(self) -> bool | None:
        """The ScaledObject's condition Ready: True, False, or None where it is Unknown."""
        return self._reconciler.ready

    def step(self, now: float, metrics: Sequence[Metric], current: int) -> Decision:
        """Return the decision, given a value or an error per trigger, in the file's order, and the present replicas.

        A late call acts once for each overdue controller, and that controller's period restarts.
        """
        desired = current
        if now >= self._reconciler.next_at:
            self._reconcile(now, metrics)
        if not self._reconciler.has_hpa:
            return Decision(current, self._cause)
        if now >= self._next_poll:
            self._next_poll = now + self._polling_interval
            desired = self._poll(now, metrics, desired)
        if now >= self._next_sync:
            self._next_sync = now + SYNC_S
            return self._sync(now, metrics, desired, just_written=desired != current)
        return Decision(desired, self._cause)

    def push(self, now: float, current: int) -> Decision:
        """Return the decision after an `external-push` scaler streams `true`, at any time; its `false` changes nothing.

        A push activates immediately, whatever a formula says, and counts as activity. KEDA drops it if the HPA was
        created without that trigger's metric. The trigger is the first of the file that pushes.
        """
        desired = current
        has_metric = self._reconciler.has_hpa and self._reconciler.has[self._pushes]
        if has_metric:
            self._reconciler.record_ready(now, True)
            desired = self._apply(self._executor.activate(now, current, "a trigger pushed its activity"), current)
        return Decision(desired, self._cause)

    def poll_next(self) -> None:
        """Make the next `step` poll, before the interval ends. KEDA in a cluster has no such thing."""
        self._next_poll = float("-inf")

    def _reconcile(self, now: float, metrics: Sequence[Metric]) -> None:
        had_none = not self._reconciler.has_hpa
        self._reconciler.reconcile(now, metrics)
        if had_none:  # polls and syncs start with the HPA
            self._next_poll, self._next_sync = now, now + self._sync_after_s
        if not self._reconciler.has_hpa:
            self._cause = "no trigger has a metric: there is no HPA"

    def _poll(self, now: float, metrics: Sequence[Metric], current: int) -> int:
        decision = self._executor.request_scale(now, current, self._sources.poll(metrics, current))
        self._reconciler.record_ready(now, self._executor.ready)
        if now >= self._reconciler.next_at:
            self._reconcile(now, metrics)
        return self._apply(decision, current)

    def _apply(self, decision: Decision | None, current: int) -> int:
        if decision is None:
            return current
        self._cause = decision.cause
        return decision.desired

    def _sync(self, now: float, metrics: Sequence[Metric], current: int, *, just_written: bool) -> Decision:
        # The HPA requests metrics only if it may act.
        if self._hpa.needs_metrics(current):
            self._sources.serve(metrics, current, self._reconciler.has)
        decision = self._hpa.sync(now, self._sources.served, current)
        if just_written and decision.desired == current:
            return Decision(current, self._cause)  # KEDA's own cause stands
        self._cause = decision.cause
        return decision
