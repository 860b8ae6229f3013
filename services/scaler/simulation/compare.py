"""Runs every policy over one trace, with KEDA tuned to its best in hindsight.

for result in compare(trace, Workload(service_rate=4, cold_start_s=60), scaled):
    print(result.name, result.replica_hours)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import msgspec
import numpy as np

from services.scaler.demand.policy import DemandSettings
from services.scaler.keda import scaledobject
from services.scaler.keda.scaledobject import (
    Behavior,
    JetStreamTrigger,
    RatePolicy,
    ScaledObject,
    ScalingRules,
)
from services.scaler.simulation.bound import bound
from services.scaler.simulation.engine import Result, Workload, run
from services.scaler.simulation.policies import Fixed, KedaDemand, KedaLag, Kpa, RayServe
from services.scaler.simulation.trace import Trace
from shared.runtime.errors import SettingError

NAMES = ("static_peak", "keda_default", "lag_tuned", "kpa", "ray_serve", "demand", "clairvoyant")

# The tuned KEDA is chosen from these. Thresholds are shares of what one replica clears in the latency target.
THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 1.5)
DOWN_WINDOWS_S = (60, 300, 900)
COOLDOWNS_S = (30, 300)
UP_PERCENTS = (100, 900)
# A longer trace is tuned on a first part of this size, and the best few are run on all of it.
TUNED_ARRIVALS = 1_000_000
TUNED_S = 2 * 24 * 3600.0
FINALISTS = 4
# The first minute of a trace tells how many replicas it starts with.
FIRST_S = 60.0


def compare(
    trace: Trace,
    load: Workload,
    scaled: ScaledObject,
    names: Sequence[str] = NAMES,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Results in the order of `names`. All but the static fleet start with the replicas that the first minute needs.

    scaled: the ScaledObject that follows demand. tell: is called with the name of what is simulated next.
    """
    results: dict[str, Result] = {}
    for name in dict.fromkeys(["demand", *names] if "lag_tuned" in names else names):
        if name == "lag_tuned":
            continue
        tell(name)
        if name == "demand":
            results[name] = _demand(trace, load, demand_scaled(scaled, load))
        else:
            results[name] = _BY_NAME[name](trace, load)
    if "lag_tuned" in names:
        tell(f"lag_tuned, {len(grid(load))} settings")
        results["lag_tuned"] = _tuned(trace, load, results["demand"].window_attainment)
    return [results[name] for name in names]


def initial(trace: Trace, load: Workload) -> int:
    """Replicas that the first minute of a trace needs: a trace is an excerpt, and something went on before it."""
    steps = max(1, round(FIRST_S / trace.step_s))
    rate = float(trace.counts[:steps].mean()) / trace.step_s
    return min(load.max_replicas, max(load.min_replicas, math.ceil(rate / load.service_rate)))


def peak(trace: Trace, load: Workload) -> int:
    """Replicas of a static fleet, for the busiest stretch as long as the latency target: work may wait that long."""
    steps = max(1, round(load.latency_target_s / trace.step_s))
    sums = np.convolve(trace.counts, np.ones(steps), mode="valid") if steps < len(trace.counts) else trace.counts
    rate = float(np.max(sums)) / (steps * trace.step_s)
    return min(load.max_replicas, max(1, load.min_replicas, math.ceil(rate / load.service_rate)))


def _static(trace: Trace, load: Workload) -> Result:
    n = peak(trace, load)
    return run(Fixed("static_peak", [(0.0, n)]), trace, load, initial=n)


def _keda_default(trace: Trace, load: Workload) -> Result:
    scaled = _scaled(load, (JetStreamTrigger(stream="MEDIA", consumer="cv"),))
    return run(KedaLag("keda_default", scaled), trace, load, initial=initial(trace, load))


def _kpa(trace: Trace, load: Workload) -> Result:
    return run(Kpa("kpa", load), trace, load, initial=initial(trace, load))


def _ray_serve(trace: Trace, load: Workload) -> Result:
    return run(RayServe("ray_serve", load), trace, load, initial=initial(trace, load))


def _demand(trace: Trace, load: Workload, scaled: ScaledObject) -> Result:
    policy = KedaDemand(
        "demand",
        scaled,
        demand_settings(load),
    )
    return run(policy, trace, load, initial=initial(trace, load))


def _clairvoyant(trace: Trace, load: Workload) -> Result:
    return bound(trace, load, initial=initial(trace, load))


_BY_NAME: dict[str, Callable[[Trace, Workload], Result]] = {
    "static_peak": _static,
    "keda_default": _keda_default,
    "kpa": _kpa,
    "ray_serve": _ray_serve,
    "clairvoyant": _clairvoyant,
}


def demand_settings(load: Workload) -> DemandSettings:
    """The settings of an operator who knows the load."""
    return DemandSettings(
        latency_target_s=load.latency_target_s,
        cold_start_s=load.cold_start_s,
        lag_threshold=max(1.0, 0.75 * load.service_rate * load.latency_target_s),
    )


def demand_scaled(scaled: ScaledObject, load: Workload) -> ScaledObject:
    """A ScaledObject by demand with the load's bounds, without its safety net: demand is to be seen alone."""
    triggers = tuple(t for t in scaled.triggers if not isinstance(t, JetStreamTrigger))
    if not triggers:
        raise SettingError(f"{scaled.name} has no trigger that asks Tidegate's scaler: give one that scales by demand")
    bounds = {"min_replica_count": load.min_replicas, "max_replica_count": load.max_replicas}
    spec = msgspec.structs.replace(scaled.spec, **bounds, idle_replica_count=None)
    return msgspec.structs.replace(scaled, spec=spec, triggers=triggers[:1])


def _scaled(
    load: Workload,
    triggers: tuple[JetStreamTrigger, ...],
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


class GridPoint(msgspec.Struct, frozen=True):
    """One point of the grid."""

    lag_threshold: int
    down_window_s: int
    cooldown_s: int
    up_percent: int

    def describe(self) -> str:
        return (
            f"lagThreshold {self.lag_threshold}, scale-down window {self.down_window_s} s, cooldownPeriod "
            f"{self.cooldown_s} s, up {self.up_percent} % in 15 s"
        )

    def scaled(self, load: Workload) -> ScaledObject:
        up = ScalingRules(
            stabilization_window_seconds=0,
            policies=(
                RatePolicy(type="Percent", value=self.up_percent, period_seconds=15),
                RatePolicy(type="Pods", value=max(4, self.up_percent // 90), period_seconds=15),
            ),
        )
        down = ScalingRules(stabilization_window_seconds=self.down_window_s)
        return _scaled(
            load,
            (JetStreamTrigger(stream="MEDIA", consumer="cv", lag_threshold=self.lag_threshold),),
            polling=5,
            cooldown=self.cooldown_s,
            behavior=Behavior(scale_up=up, scale_down=down),
        )


def grid(load: Workload) -> list[GridPoint]:
    """All points that the tuned KEDA is chosen from."""
    clears = load.service_rate * load.latency_target_s
    thresholds = sorted({max(1, round(share * clears)) for share in THRESHOLDS})
    return [GridPoint(*point) for point in itertools.product(thresholds, DOWN_WINDOWS_S, COOLDOWNS_S, UP_PERCENTS)]


def _tuned(trace: Trace, load: Workload, attainment: float) -> Result:
    """The cheapest point that serves as many minutes as demand does; where none does, the one that serves most."""
    points = grid(load)
    steps = math.ceil(min(TUNED_S, TUNED_ARRIVALS / trace.mean_rate) / trace.step_s)
    excerpt = trace if steps >= len(trace.counts) else Trace(trace.name, trace.step_s, trace.counts[: max(2, steps)])
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        results = list(pool.map(partial(_lag, excerpt, load), points, chunksize=2))
        best = sorted(range(len(points)), key=lambda i: _worth(results[i], attainment))
        finalists = points
        if excerpt is not trace:
            finalists = [points[i] for i in best[:FINALISTS]]
            results = list(pool.map(partial(_lag, trace, load), finalists))
            best = sorted(range(len(finalists)), key=lambda i: _worth(results[i], attainment))
    return msgspec.structs.replace(results[best[0]], settings=finalists[best[0]].describe())


def _lag(trace: Trace, load: Workload, point: GridPoint) -> Result:
    return run(KedaLag("lag_tuned", point.scaled(load)), trace, load, initial=initial(trace, load))


def _worth(result: Result, attainment: float) -> tuple[bool, float]:
    missed = result.window_attainment < attainment
    return missed, -result.window_attainment if missed else result.replica_hours
