"""Scaling policies. The simulator reads the next decision time and the replicas of each."""

from __future__ import annotations

import math
from collections import deque

from services.scaler.demand.estimate import Estimate, one_number
from services.scaler.demand.observation import DeferredSegments, Observation, Workers
from services.scaler.demand.parameters import DemandSettings
from services.scaler.demand.policy import Demand
from shared.contract import names
from tidegate.keda.decision import Keda
from tidegate.keda.hpa import SYNC_S
from tidegate.keda.scaledobject import (
    ExternalTrigger,
    JetStreamTrigger,
    PrometheusTrigger,
    ScaledObject,
    Trigger,
)
from tidegate.keda.source import Metric, NoSeries, Reading
from tidegate.simulation.engine import ScalerView, Workload

OBSERVE_S = 5.0
# The periods of dcgm-exporter and of Prometheus. The two clocks are not in step: half a period is the mean.
COLLECT_S, SCRAPE_S = 30.0, 15.0
SCRAPE_AFTER_S = SCRAPE_S / 2
_AWAY = ConnectionError("the scaler is away")


class Fixed:
    """A fixed schedule: (seconds, replicas) pairs, the first at 0."""

    wakes = False

    def __init__(self, name: str, schedule: list[tuple[float, int]]) -> None:
        self.name = name
        self._schedule = schedule
        self._next = 0
        self._count = 0

    @property
    def next_at(self) -> float:
        return self._schedule[self._next][0] if self._next < len(self._schedule) else math.inf

    def decide(self, now: float, view: ScalerView) -> int:
        while self._next < len(self._schedule) and self._schedule[self._next][0] <= now:
            self._count = self._schedule[self._next][1]
            self._next += 1
        return self._count


class KedaLag:
    """KEDA and the HPA by the pending count, with `scaled`. A trigger of a scaler gets no answer.

    If a formula sums several consumers, the first one has the whole backlog. first_s: time of KEDA's first poll.
    """

    wakes = False

    def __init__(self, name: str, scaled: ScaledObject, *, first_s: float = 0.0) -> None:
        self.name = name
        self._keda = Keda(scaled, 0.0)
        self._triggers = scaled.triggers
        self._adds_up = scaled.spec.modifiers is not None
        self._first_s = first_s

    @property
    def next_at(self) -> float:
        return max(self._first_s, self._keda.next_at)

    def decide(self, now: float, view: ScalerView) -> int:
        if now < self._first_s:
            return view.replicas
        metrics: list[Metric] = [lag(t, view) if isinstance(t, JetStreamTrigger) else _AWAY for t in self._triggers]
        if self._adds_up:
            metrics[1:] = [0.0] * (len(metrics) - 1)
        return self._keda.step(now, metrics, view.replicas).desired


def lag(trigger: Trigger, view: ScalerView) -> float:
    """Return the count of a `nats-jetstream` trigger: deferred segments on BACKFILL, the lag on any other stream."""
    if isinstance(trigger, JetStreamTrigger) and trigger.stream == names.BACKFILL:
        return float(view.deferred_waiting)
    return float(view.pending + view.in_flight)


class Gpus:
    """The result of a Prometheus query for the GPUs of a service: the sum of their busy shares, as a delayed mean.

    dcgm-exporter collects the busy share of a GPU every 30 s, and Prometheus scrapes it every 15 s. Most assumptions
    favour scaling by it:

    - A GPU is busy while its replica has work in flight, also while a CPU decodes. Work takes as long in a full batch
      as alone, so the share of time is the share of a replica's capacity.
    - The share is a mean of the interval, like DCGM_FI_PROF_GR_ENGINE_ACTIVE. DCGM_FI_DEV_GPU_UTIL covers its end
      alone.
    - A pod has its series from the first scrape on, and the exporters of all nodes collect in step.

    Sources: dcgm-exporter's `pkg/cmd/app.go` (collect-interval) and the GPU operator's `values.yaml` (serviceMonitor).
    """

    def __init__(self) -> None:
        self._next_collect = 0.0
        self._next_scrape = SCRAPE_AFTER_S
        self._collected_at = 0.0
        self._busy_s = 0.0
        self._exported = 0.0
        self._scraped: float | None = None

    @property
    def next_at(self) -> float:
        """When an exporter next collects, or Prometheus scrapes."""
        return min(self._next_collect, self._next_scrape)

    def observe(self, now: float, view: ScalerView) -> None:
        """Run the collections and scrapes that are due by `now`."""
        if now >= self._next_collect:
            busy_s = view.working_s + view.backfilling_s
            if now > self._collected_at:
                self._exported = (busy_s - self._busy_s) / (now - self._collected_at)
            self._collected_at, self._busy_s = now, busy_s
            self._next_collect = now + COLLECT_S
        if now >= self._next_scrape:
            self._scraped = self._exported if view.replicas else None
            self._next_scrape = now + SCRAPE_S

    def query(self) -> Metric:
        """Return the sum as in Prometheus."""
        return NoSeries("no pod of the service has a GPU") if self._scraped is None else self._scraped


class KedaUtilisation:
    """KEDA and the HPA by GPU utilisation, with `scaled`: its prometheus trigger sees the GPUs, any other the lag."""

    wakes = False

    def __init__(self, name: str, scaled: ScaledObject) -> None:
        self.name = name
        self._queries = [isinstance(trigger, PrometheusTrigger) for trigger in scaled.triggers]
        self._keda = Keda(scaled, 0.0)
        self._gpus = Gpus()

    @property
    def next_at(self) -> float:
        return min(self._gpus.next_at, self._keda.next_at)

    def decide(self, now: float, view: ScalerView) -> int:
        self._gpus.observe(now, view)
        if now < self._keda.next_at:
            return view.replicas
        waiting = float(view.pending + view.in_flight)
        metrics = [self._gpus.query() if queries else waiting for queries in self._queries]
        return self._keda.step(now, metrics, view.replicas).desired


class KedaDemand:
    """The same controllers by our scaler's answers, with `scaled`, whose first trigger queries it.

    Its other triggers see the backlog. The scaler observes the queue every five seconds, while the service observes it
    every second, and also at the first segment on an idle queue. Over hours that makes little difference (1 % of the
    cost in the mean of 21 runs); over minutes it does. retention_s: of video, in seconds. first_observation_s: time of
    the first observation; one before 0 takes place at 0. first_s: time of KEDA's first poll. sync_after_s: of the HPA's
    first sync.
    """

    wakes = True

    def __init__(
        self,
        name: str,
        scaled: ScaledObject,
        settings: DemandSettings,
        *,
        retention_s: float = 0.0,
        observe_s: float = OBSERVE_S,
        first_observation_s: float = 0.0,
        first_s: float = 0.0,
        sync_after_s: float = SYNC_S / 2,
    ) -> None:
        self.name = name
        self.demand = Demand(settings)
        trigger = scaled.triggers[0]
        self._external = isinstance(trigger, ExternalTrigger)
        self._pushes = isinstance(trigger, ExternalTrigger) and trigger.push
        self._keda = Keda(scaled, 0.0, sync_after_s=sync_after_s)
        self._others = scaled.triggers[1:]
        self._retention_s = retention_s
        self._observe_s = observe_s
        self._first_s = first_s
        self._next_observation = first_observation_s
        self._estimate: Estimate | None = None

    @property
    def next_at(self) -> float:
        return min(self._next_observation, max(self._first_s, self._keda.next_at))

    def decide(self, now: float, view: ScalerView) -> int:
        estimate = self._estimate
        # The scaler is woken between KEDA's polls; a poll itself triggers no observation.
        is_woken = view.replicas == 0 and view.pending > 0 and now < self._keda.next_at
        if estimate is None or now >= self._next_observation or (is_woken and not estimate.active):
            due = self._next_observation + self._observe_s
            self._next_observation = due if now < due and not is_woken else now + self._observe_s
            estimate = self._estimate = self.demand.observe(_observation(now, view, self._retention_s))
        if self._pushes and view.replicas == 0 and estimate.active:
            return self._keda.push(now, 0).desired
        if now < max(self._first_s, self._keda.next_at):
            return view.replicas
        replicas, active = estimate.replicas, estimate.active
        demand: Metric = Reading(replicas, active) if self._external else one_number(replicas, active)
        metrics = [demand, *(lag(trigger, view) for trigger in self._others)]
        return self._keda.step(now, metrics, view.replicas).desired


def _observation(now: float, view: ScalerView, retention_s: float) -> Observation:
    fleet = Workers(
        ready=view.ready,
        loading=view.replicas - view.ready,
        processed=view.processed,
        working_s=view.working_s,
        work=view.work,
        wanted=view.wanted,
        analysed=view.analysed,
        never=view.never,
    )
    return Observation(
        time=now,
        arrived=view.arrived,
        pending=view.pending,
        in_flight=view.in_flight,
        fleet=fleet if view.replicas else None,
        deferred=DeferredSegments(ever=view.deferred_ever, waiting=view.deferred_waiting, retention_s=retention_s),
    )


class Kpa:
    """Knative's autoscaler, by concurrency: the segments in the system, averaged over a stable and a panic window.

    Defaults of its config-autoscaler: windows of 60 s and 6 s, a target of 70 %, panic at twice the ready capacity, at
    most 1000 times up and half down, a tick of 2 s. It starts in panic with more than one replica. The soft limit of a
    replica is the segments that it clears in the latency target. Simpler than the original: concurrency is sampled
    once a tick, and the last replica stops without the activator's probe. Source: Knative Serving,
    `pkg/autoscaler/scaling/autoscaler.go`.
    """

    wakes = True
    TICK_S = 2.0
    STABLE, PANIC = 30, 3  # ticks

    def __init__(self, name: str, load: Workload) -> None:
        self.name = name
        self.next_at = 0.0
        self._target = 0.7 * max(1.0, load.service_rate * load.latency_target_s)
        self._seen: deque[int] = deque(maxlen=self.STABLE)
        self._panicked_at: float | None = None
        self._panic_most = 0

    def decide(self, now: float, view: ScalerView) -> int:
        if now < self.next_at:  # the activator holds a request for a service at zero
            return max(view.replicas, min(1, view.pending))
        self.next_at = now + self.TICK_S
        if not self._seen and view.ready > 1:
            self._panicked_at, self._panic_most = now, view.ready
        self._seen.append(view.pending + view.in_flight)
        recent = list(self._seen)[-self.PANIC :]
        ready = max(1, view.ready)
        stable = math.ceil(sum(self._seen) / len(self._seen) / self._target)
        panic = math.ceil(sum(recent) / len(recent) / self._target)
        if panic >= 2 * ready:
            self._panicked_at = now
        elif self._panicked_at is not None and now - self._panicked_at > self.STABLE * self.TICK_S:
            self._panicked_at, self._panic_most = None, 0
        stable, panic = (min(max(n, ready // 2), 1000 * ready) for n in (stable, panic))
        if self._panicked_at is None:
            return stable
        self._panic_most = max(self._panic_most, stable, panic)
        return self._panic_most


class RayServe:
    """Ray Serve's rule: ongoing requests over their target, once the direction has been the same for long enough.

    Defaults of its AutoscalingConfig: averaged over 30 s, 30 s until up, 600 s until down, and as long again from the
    last replica to none. If none runs, one is requested immediately, and no more until it runs. The target of a replica
    is the segments that it clears in the latency target. Simpler than the original: it samples once a second, not ten
    times. Source: Ray, `python/ray/serve/autoscaling_policy.py`.
    """

    wakes = True
    TICK_S = 1.0
    LOOK_BACK, UP_S, DOWN_S = 30, 30.0, 600.0

    def __init__(self, name: str, load: Workload) -> None:
        self.name = name
        self.next_at = 0.0
        self._target = max(1.0, load.service_rate * load.latency_target_s)
        self._seen: deque[int] = deque(maxlen=self.LOOK_BACK)
        self._in_a_row = 0  # consecutive ticks that wanted more replicas; below 0 for fewer

    def decide(self, now: float, view: ScalerView) -> int:
        have = view.replicas
        if now < self.next_at:  # without a replica, a handle reports a request immediately
            return max(have, min(1, view.pending))
        self.next_at = now + self.TICK_S
        self._seen.append(view.pending + view.in_flight)
        ongoing = sum(self._seen) / len(self._seen)
        if view.ready == 0:
            return max(1, have) if ongoing else have
        desired = math.ceil(ongoing / self._target)
        if have > 1:
            desired = max(1, desired)
        if desired == have:
            self._in_a_row = 0
            return have
        if desired > have:
            self._in_a_row = max(0, self._in_a_row) + 1
            is_due = self._in_a_row * self.TICK_S > self.UP_S
        else:
            self._in_a_row = min(0, self._in_a_row) - 1
            is_due = -self._in_a_row * self.TICK_S > self.DOWN_S
        if not is_due:
            return have
        self._in_a_row = 0
        return desired
