"""Run every policy over one trace, with KEDA's rules tuned to their best in hindsight.

Example:
    for result in compare(trace, Workload(service_rate=4, cold_start_s=60), scaled):
        print(result.name, result.replica_hours)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec
import numpy as np

from services.scaler.demand.parameters import LAG_SHARE, DemandSettings
from shared.runtime.errors import SettingError
from tidegate.keda import scaledobject
from tidegate.keda.scaledobject import (
    Behavior,
    JetStreamTrigger,
    PrometheusTrigger,
    RatePolicy,
    ScaledObject,
    ScalingRules,
    Trigger,
)
from tidegate.simulation.engine import Policy, Result, Workload, run, worker_pool
from tidegate.simulation.oracle import run_oracle
from tidegate.simulation.policies import Fixed, KedaDemand, KedaLag, KedaUtilisation, Kpa, RayServe
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace

NAMES = (
    "static_peak",
    "keda_default",
    "lag_tuned",
    "utilisation",
    "utilisation_tuned",
    "kpa",
    "ray_serve",
    "demand",
    "clairvoyant",
)

# The suffix of a policy's name with degradable work.
ELASTIC_SUFFIX = ", elastic"

# The grid for the tuned KEDA. Thresholds are shares of the messages that one replica clears in the latency target.
THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 1.5)
# Shares of a GPU's time. The first is the default without measurements. Over 1 / 1.1 the HPA would never add a replica:
# its tolerance takes a tenth, and no GPU is busy for more than all of its time.
UTILISATIONS = (0.7, 0.5, 0.6, 0.8, 0.9)
# A lag that no backlog reaches: its trigger starts the first replica and never requests a second.
WAKES_ALONE = 10**9
DOWN_WINDOWS_S = (60, 300, 900)
COOLDOWNS_S = (30, 300)
UP_PERCENTS = (100, 900)
# A longer trace is tuned on a first part of this size; the best few points then run on all of it.
TUNED_ARRIVALS = 1_000_000
TUNED_S = 2 * 24 * 3600.0
FINALISTS = 4
# The first minute of a trace determines the initial replicas.
FIRST_S = 60.0


def compare(
    trace: Trace,
    load: Workload,
    scaled: ScaledObject,
    names: Sequence[str] = NAMES,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Return results in the order of `names`. All but the static fleet start with the replicas for the first minute.

    scaled: the ScaledObject by demand. tell: called with the name of the next policy.
    """
    results: dict[str, Result] = {}
    tuned = [name for name in names if name in _GRIDS]
    for name in dict.fromkeys(["demand", *names] if tuned else names):
        if name in tuned:
            continue
        tell(name)
        if name == "demand":
            results[name] = _demand(trace, load, demand_scaled(scaled, load))
        else:
            results[name] = _BY_NAME[name](trace, load)
    for name in tuned:
        points = _GRIDS[name](load)
        tell(f"{name}, {len(points)} settings")
        results[name] = _tuned(trace, load, points, results["demand"].window_attainment)
    return [results[name] for name in names]


def with_and_without(
    trace: Trace,
    load: Workload,
    scaled: ScaledObject,
    names: Sequence[str] = NAMES,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Run `compare` twice: with full quality whatever waits, and with degradable work, as the names show.

    The oracle is of the first. In the product nothing degrades by lag, for the reason that its rows show: deferred
    work is no backlog, and the backlog starts replicas.
    """
    rigid = msgspec.structs.replace(load, elastic=None)
    degradable = msgspec.structs.replace(load, elastic=load.elastic or Elastic())
    results = compare(trace, rigid, scaled, names, tell=tell)
    others = [name for name in names if name != "clairvoyant"]
    degraded = compare(trace, degradable, scaled, others, tell=lambda name: tell(name + ELASTIC_SUFFIX))
    return results + [msgspec.structs.replace(result, name=result.name + ELASTIC_SUFFIX) for result in degraded]


def initial(trace: Trace, load: Workload) -> int:
    """Return the replicas for the first minute of a trace: a trace is an excerpt, with a load before it."""
    steps = max(1, round(FIRST_S / trace.step_s))
    rate = float(trace.counts[:steps].mean()) / trace.step_s
    return min(load.max_replicas, max(load.min_replicas, math.ceil(rate / load.service_rate)))


def peak(trace: Trace, load: Workload) -> int:
    """Return the replicas of a static fleet for the busiest interval of the latency target: work may wait that long."""
    steps = max(1, round(load.latency_target_s / trace.step_s))
    sums = np.convolve(trace.counts, np.ones(steps), mode="valid") if steps < len(trace.counts) else trace.counts
    rate = float(np.max(sums)) / (steps * trace.step_s)
    return min(load.max_replicas, max(1, load.min_replicas, math.ceil(rate / load.service_rate)))


def _run(policy: Policy, trace: Trace, load: Workload) -> Result:
    return run(policy, trace, load, initial=initial(trace, load))


def _static(trace: Trace, load: Workload) -> Result:
    n = peak(trace, load)
    return run(Fixed("static_peak", [(0.0, n)]), trace, load, initial=n)


def _keda_default(trace: Trace, load: Workload) -> Result:
    scaled = _scaled(load, (JetStreamTrigger(stream="MEDIA", consumer="cv"),))
    return _run(KedaLag("keda_default", scaled), trace, load)


def _utilisation(trace: Trace, load: Workload) -> Result:
    scaled = _scaled(load, _by_utilisation(UTILISATIONS[0], WAKES_ALONE))
    return _run(KedaUtilisation("utilisation", scaled), trace, load)


def _by_utilisation(threshold: float, lag_threshold: int) -> tuple[Trigger, ...]:
    """Return the triggers. A service at zero has no busy GPU, so another trigger has to start it."""
    return (
        JetStreamTrigger(stream="MEDIA", consumer="cv", lag_threshold=lag_threshold),
        PrometheusTrigger(server_address="simulated", query="utilisation", threshold=threshold),
    )


def _demand(trace: Trace, load: Workload, scaled: ScaledObject) -> Result:
    return _run(KedaDemand("demand", scaled, demand_settings(load), retention_s=load.max_age_s), trace, load)


_BY_NAME: dict[str, Callable[[Trace, Workload], Result]] = {
    "static_peak": _static,
    "keda_default": _keda_default,
    "utilisation": _utilisation,
    "kpa": lambda trace, load: _run(Kpa("kpa", load), trace, load),
    "ray_serve": lambda trace, load: _run(RayServe("ray_serve", load), trace, load),
    "clairvoyant": lambda trace, load: run_oracle(trace, load, initial=initial(trace, load)),
}


def demand_settings(load: Workload) -> DemandSettings:
    """Return the settings of an operator who knows the load."""
    return DemandSettings(
        latency_target_s=load.latency_target_s,
        cold_start_s=load.cold_start_s,
        lag_threshold=max(1.0, LAG_SHARE * load.service_rate * load.latency_target_s),
        defer_budget=load.defer_budget,
        backfill_grace_s=load.backfill_grace_s,
    )


def demand_scaled(scaled: ScaledObject, load: Workload) -> ScaledObject:
    """Return a ScaledObject by demand with the load's bounds, without its fallback trigger, to isolate demand."""
    triggers = tuple(t for t in scaled.triggers if not isinstance(t, JetStreamTrigger))
    if not triggers:
        raise SettingError(f"{scaled.name} has no trigger that asks Tidegate's scaler: give one that scales by demand")
    bounds = {"min_replica_count": load.min_replicas, "max_replica_count": load.max_replicas}
    spec = msgspec.structs.replace(scaled.spec, **bounds)
    return msgspec.structs.replace(scaled, spec=spec, triggers=triggers[:1])


def _scaled(
    load: Workload,
    triggers: tuple[Trigger, ...],
    *,
    polling: int = 30,
    cooldown: int = 300,
    behavior: Behavior | None = None,
) -> ScaledObject:
    spec = scaledobject.Spec(
        scale_target_ref=scaledobject.ScaleTarget(name="simulated"),
        triggers=(scaledobject.TriggerSpec(type="nats-jetstream", metadata={}),),
        polling_interval=polling,
        cooldown_period=cooldown,
        min_replica_count=load.min_replicas,
        max_replica_count=load.max_replicas,
        advanced=scaledobject.Advanced(horizontal_pod_autoscaler_config=scaledobject.HpaConfig(behavior=behavior)),
    )
    return ScaledObject(name="simulated", spec=spec, triggers=triggers)


# ---- KEDA tuned in hindsight


class Point(Protocol):
    """One candidate setting of a grid."""

    def describe(self) -> str: ...

    def policy(self, load: Workload) -> Policy: ...


class LagPoint(msgspec.Struct, frozen=True):
    """A setting of the lag rule."""

    lag_threshold: int
    down_window_s: int
    cooldown_s: int
    up_percent: int

    def describe(self) -> str:
        return (
            f"lagThreshold {self.lag_threshold}, scale-down window {self.down_window_s} s, cooldownPeriod "
            f"{self.cooldown_s} s, up {self.up_percent} % in 15 s"
        )

    def policy(self, load: Workload) -> Policy:
        trigger = JetStreamTrigger(stream="MEDIA", consumer="cv", lag_threshold=self.lag_threshold)
        behavior = _behavior(self.down_window_s, self.up_percent)
        return KedaLag("lag_tuned", _scaled(load, (trigger,), polling=5, cooldown=self.cooldown_s, behavior=behavior))


class UtilisationPoint(msgspec.Struct, frozen=True):
    """A setting of GPU utilisation. lag_threshold: of the trigger next to it, which may only wake the service."""

    threshold: float
    lag_threshold: int
    down_window_s: int
    up_percent: int

    def describe(self) -> str:
        lag = "to wake alone" if self.lag_threshold == WAKES_ALONE else f"{self.lag_threshold}"
        return (
            f"{self.threshold:.0%} of a GPU, lagThreshold {lag}, scale-down window {self.down_window_s} s, up "
            f"{self.up_percent} % in 15 s"
        )

    def policy(self, load: Workload) -> Policy:
        triggers = _by_utilisation(self.threshold, self.lag_threshold)
        behavior = _behavior(self.down_window_s, self.up_percent)
        return KedaUtilisation("utilisation_tuned", _scaled(load, triggers, polling=5, behavior=behavior))


def _behavior(down_window_s: int, up_percent: int) -> Behavior:
    up = ScalingRules(
        stabilization_window_seconds=0,
        policies=(
            RatePolicy(type="Percent", value=up_percent, period_seconds=15),
            RatePolicy(type="Pods", value=max(4, up_percent // 90), period_seconds=15),
        ),
    )
    return Behavior(scale_up=up, scale_down=ScalingRules(stabilization_window_seconds=down_window_s))


def lag_grid(load: Workload) -> list[LagPoint]:
    """Return all points of the tuned lag rule."""
    clears = load.service_rate * load.latency_target_s
    thresholds = sorted({max(1, round(share * clears)) for share in THRESHOLDS})
    return [LagPoint(*point) for point in itertools.product(thresholds, DOWN_WINDOWS_S, COOLDOWNS_S, UP_PERCENTS)]


def utilisation_grid(load: Workload) -> list[UtilisationPoint]:
    """Return all points of the tuned utilisation: without the lag rule next to it, and with it."""
    lags = (WAKES_ALONE, round(demand_settings(load).lag_threshold))
    return [UtilisationPoint(*point) for point in itertools.product(UTILISATIONS, lags, DOWN_WINDOWS_S, UP_PERCENTS)]


_GRIDS: dict[str, Callable[[Workload], Sequence[Point]]] = {
    "lag_tuned": lag_grid,
    "utilisation_tuned": utilisation_grid,
}


def _tuned(trace: Trace, load: Workload, points: Sequence[Point], attainment: float) -> Result:
    """Return the cheapest point that serves at least demand's minutes, else the one that serves most."""
    steps = math.ceil(min(TUNED_S, TUNED_ARRIVALS / trace.mean_rate) / trace.step_s)
    excerpt = trace if steps >= len(trace.counts) else Trace(trace.name, trace.step_s, trace.counts[: max(2, steps)])
    with worker_pool() as pool:
        results = list(pool.map(partial(_at, excerpt, load), points, chunksize=2))
        best = sorted(range(len(points)), key=lambda i: _worth(results[i], attainment))
        finalists = points
        if excerpt is not trace:
            finalists = [points[i] for i in best[:FINALISTS]]
            results = list(pool.map(partial(_at, trace, load), finalists))
            best = sorted(range(len(finalists)), key=lambda i: _worth(results[i], attainment))
    return msgspec.structs.replace(results[best[0]], settings=finalists[best[0]].describe())


def _at(trace: Trace, load: Workload, point: Point) -> Result:
    return _run(point.policy(load), trace, load)


def _worth(result: Result, attainment: float) -> tuple[bool, float]:
    missed = result.window_attainment < attainment
    return missed, -result.window_attainment if missed else result.replica_hours
