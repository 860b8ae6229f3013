"""Scaling policies, each as the simulator asks it: when next, and how many."""

from __future__ import annotations

import math
from collections import deque

from services.scaler.demand import Demand, DemandSettings
from services.scaler.keda import Keda, Metric, Reading
from services.scaler.observation import Fleet, Observation
from services.scaler.scaledobject import ScaledObject
from services.scaler.simulation.engine import Load, View

LOOK_S = 5.0


class Fixed:
    """A schedule known beforehand: (seconds, replicas) pairs, the first at 0."""

    wakes = False

    def __init__(self, name: str, schedule: list[tuple[float, int]]) -> None:
        self.name = name
        self._schedule = schedule
        self._next = 0
        self._count = 0

    @property
    def next_at(self) -> float:
        return self._schedule[self._next][0] if self._next < len(self._schedule) else math.inf

    def decide(self, now: float, view: View) -> int:
        while self._next < len(self._schedule) and self._schedule[self._next][0] <= now:
            self._count = self._schedule[self._next][1]
            self._next += 1
        return self._count


class KedaLag:
    """KEDA and the HPA on the pending count, by `scaled`, whose trigger is nats-jetstream."""

    wakes = False

    def __init__(self, name: str, scaled: ScaledObject) -> None:
        self.name = name
        self._keda = Keda(scaled, 0.0)

    @property
    def next_at(self) -> float:
        return self._keda.next_at

    def decide(self, now: float, view: View) -> int:
        return self._keda.step(now, [float(view.pending + view.in_work)], view.replicas, view.ready).desired


class KedaDemand:
    """The same controllers on what the external scaler answers, by `scaled`, whose first trigger is external-push.

    Other triggers of it see the pending count. The queue is looked at every five seconds, where the service looks every
    second: it makes no difference to the results (1.300 and 1.298 of the bound in the mean of fifteen runs).
    """

    wakes = True

    def __init__(self, name: str, scaled: ScaledObject, settings: DemandSettings) -> None:
        self.name = name
        self.demand = Demand(settings)
        self._keda = Keda(scaled, 0.0)
        self._others = len(scaled.triggers) - 1
        self._next_look = 0.0

    @property
    def next_at(self) -> float:
        return min(self._next_look, self._keda.next_at)

    def decide(self, now: float, view: View) -> int:
        if now >= self._next_look:
            self._next_look = now + LOOK_S
        estimate = self.demand.observe(
            Observation(
                time=now,
                arrived=view.arrived,
                waiting=view.pending,
                in_work=view.in_work,
                fleet=Fleet(
                    ready=view.ready,
                    loading=view.replicas - view.ready,
                    processed=view.processed,
                    working_s=view.working_s,
                )
                if view.replicas
                else None,
            )
        )
        if view.replicas == 0 and estimate.active:
            return self._keda.push(now, 0).desired
        if now < self._keda.next_at:
            return view.replicas
        lag = float(view.pending + view.in_work)
        metrics: list[Metric] = [Reading(estimate.replicas, estimate.active)]
        metrics += [lag] * self._others
        return self._keda.step(now, metrics, view.replicas, view.ready).desired


class Kpa:
    """Knative's autoscaler, on concurrency: what is in the system, averaged over a stable and a panic window.

    Defaults of its config-autoscaler: windows of 60 s and 6 s, a target of 70 %, panic at twice what is ready, at most
    1000 times up and half down, a tick of 2 s. The soft limit of a replica is what it clears in the latency target.
    Source: Knative Serving, `pkg/autoscaler/scaling/autoscaler.go`.
    """

    wakes = True
    TICK_S = 2.0
    STABLE, PANIC = 30, 3  # ticks

    def __init__(self, name: str, load: Load) -> None:
        self.name = name
        self.next_at = 0.0
        self._target = 0.7 * max(1.0, load.service_rate * load.latency_target_s)
        self._seen: deque[int] = deque(maxlen=self.STABLE)
        self._panics_since = -math.inf
        self._panic_most = 0

    def decide(self, now: float, view: View) -> int:
        if now < self.next_at:  # the activator holds a request for a service at zero
            return max(1, view.replicas)
        self.next_at = now + self.TICK_S
        self._seen.append(view.pending + view.in_work)
        recent = list(self._seen)[-self.PANIC :]
        ready = max(1, view.ready)
        stable = math.ceil(sum(self._seen) / len(self._seen) / self._target)
        panic = math.ceil(sum(recent) / len(recent) / self._target)
        most, least = 1000 * ready, ready // 2
        stable, panic = (max(least, min(most, n)) if view.ready else n for n in (stable, panic))
        if panic >= 2 * ready:
            if now - self._panics_since > self.STABLE * self.TICK_S:
                self._panic_most = 0
            self._panics_since = now
        if now - self._panics_since <= self.STABLE * self.TICK_S:
            self._panic_most = max(self._panic_most, stable, panic)
            return self._panic_most
        return stable


class RayServe:
    """Ray Serve's rule: ongoing requests over their target, once it has called for the same direction long enough.

    Defaults of its AutoscalingConfig: averaged over 30 s, 30 s until up, 600 s until down. The target of a replica is
    what it clears in the latency target. Source: Ray, `python/ray/serve/autoscaling_policy.py`.
    """

    wakes = True
    TICK_S = 1.0
    LOOK_BACK, UP_S, DOWN_S = 30, 30.0, 600.0

    def __init__(self, name: str, load: Load) -> None:
        self.name = name
        self.next_at = 0.0
        self._target = max(1.0, load.service_rate * load.latency_target_s)
        self._seen: deque[int] = deque(maxlen=self.LOOK_BACK)
        self._since = 0.0
        self._direction = 0

    def decide(self, now: float, view: View) -> int:
        if now < self.next_at:
            return max(1, view.replicas)
        self.next_at = now + self.TICK_S
        self._seen.append(view.pending + view.in_work)
        desired = math.ceil(sum(self._seen) / len(self._seen) / self._target)
        have = view.replicas
        if have == 0:
            return 1 if self._seen[-1] else 0
        direction = (desired > have) - (desired < have)
        if direction != self._direction:
            self._direction, self._since = direction, now
        if (direction > 0 and now - self._since >= self.UP_S) or (direction < 0 and now - self._since >= self.DOWN_S):
            self._direction = 0
            return desired
        return have
