"""Run every policy over one trace, with KEDA's rules tuned to their best in hindsight.

Example:
    for result in compare(trace, Workload(service_rate=4, cold_start_s=60), scaled):
        print(result.name, result.replica_hours)
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from contextlib import nullcontext
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
from tidegate.simulation.engine import Bar, BarMissed, Policy, Result, Workload, run, worker_pool
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


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """done: finished policies, of `count`. share: of the whole work, 0 to 1. doing: what goes on, in words. result: of
    the policy that has just finished.
    """

    done: int
    count: int
    share: float
    doing: str = ""
    result: Result | None = None


Report = Callable[[Progress], None]


def compare(
    trace: Trace,
    load: Workload,
    scaled: ScaledObject,
    names: Sequence[str] = NAMES,
    *,
    report: Report = lambda _: None,
) -> list[Result]:
    """Return results in the order of `names`. All but the static fleet start with the replicas for the first minute.

    scaled: the ScaledObject by demand. report: receives each step.
    """
    return _compared(trace, [(load, names, "")], scaled, report)


def with_and_without(
    trace: Trace,
    load: Workload,
    scaled: ScaledObject,
    names: Sequence[str] = NAMES,
    *,
    report: Report = lambda _: None,
) -> list[Result]:
    """Run `compare` twice: with full quality whatever waits, and with degradable work, as the names show.

    The oracle is of the first. In the product nothing degrades by lag, for the reason that its rows show: deferred
    work is no backlog, and the backlog starts replicas.
    """
    rigid = msgspec.structs.replace(load, elastic=None)
    degradable = msgspec.structs.replace(load, elastic=load.elastic or Elastic())
    others = [name for name in names if name != "clairvoyant"]
    return _compared(trace, [(rigid, names, ""), (degradable, others, ELASTIC_SUFFIX)], scaled, report)


def _compared(
    trace: Trace, loads: Sequence[tuple[Workload, Sequence[str], str]], scaled: ScaledObject, report: Report
) -> list[Result]:
    """Return the results of each (workload, names, suffix of the names), in their order."""
    runs = [(load, _needed(names), suffix) for load, names, suffix in loads]
    has_tuned = any(name in _GRIDS for _, names, _ in runs for name in names)
    meter = _Meter(trace, [(load, name) for load, names, _ in runs for name in names], report)
    results: dict[str, Result] = {}

    def finish(result: Result, suffix: str, runs: float) -> None:
        results[result.name + suffix] = result = msgspec.structs.replace(result, name=result.name + suffix)
        meter.finish(result, runs)

    # Processes take seconds to start: a few policies are done before.
    with worker_pool() if has_tuned else nullcontext() as pool:
        for load, names, suffix in runs:
            for result in _simulated(pool, trace, load, scaled, [n for n in names if n not in _GRIDS]):
                finish(result, suffix, 1.0)
        for load, names, suffix in runs:
            for name in (n for n in names if n in _GRIDS):
                assert pool
                attainment = results["demand" + suffix].window_attainment
                finish(_tuned(pool, trace, load, name, attainment, meter, suffix), suffix, 0.0)
    return [results[name + suffix] for _, names, suffix in loads for name in names]


def _needed(names: Sequence[str]) -> list[str]:
    """Return the policies to simulate: a tuned one is judged by what demand serves."""
    return list(dict.fromkeys(["demand", *names] if any(name in _GRIDS for name in names) else names))


def _simulated(
    pool: Executor | None, trace: Trace, load: Workload, scaled: ScaledObject, names: Sequence[str]
) -> Iterator[Result]:
    """Yield the result of each policy that is not tuned, as it is done."""
    if pool is None:
        yield from (_simulate(name, trace, load, scaled) for name in names)
        return
    jobs = [pool.submit(_simulate, name, trace, load, scaled) for name in names]
    yield from (job.result() for job in as_completed(jobs))


def _simulate(name: str, trace: Trace, load: Workload, scaled: ScaledObject) -> Result:
    return _demand(trace, load, demand_scaled(scaled, load)) if name == "demand" else _BY_NAME[name](trace, load)


class _Meter:
    """Counts finished policies, and the work in runs of the whole trace."""

    def __init__(self, trace: Trace, policies: Sequence[tuple[Workload, str]], report: Report) -> None:
        self._report = report
        self._done, self._count = 0, len(policies)
        self._runs = 0.0
        self._all = sum(_tuning_runs(trace, load, name) if name in _GRIDS else 1.0 for load, name in policies)
        report(Progress(done=0, count=self._count, share=0.0))

    def advance(self, runs: float, doing: str) -> None:
        self._runs += runs
        self._report(Progress(done=self._done, count=self._count, share=self._runs / self._all, doing=doing))

    def finish(self, result: Result, runs: float = 0.0) -> None:
        self._done += 1
        self._runs += runs
        share = self._runs / self._all
        self._report(Progress(done=self._done, count=self._count, share=share, result=result))


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


def _run(policy: Policy, trace: Trace, load: Workload, *, bar: Bar | None = None) -> Result:
    return run(policy, trace, load, initial=initial(trace, load), bar=bar)


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
        loss_budget=load.loss_budget,
        defer_limit=load.defer_limit,
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


def _excerpt(trace: Trace) -> Trace:
    """Return the first part of a long trace."""
    steps = math.ceil(min(TUNED_S, TUNED_ARRIVALS / trace.mean_rate) / trace.step_s)
    return trace if steps >= len(trace.counts) else Trace(trace.name, trace.step_s, trace.counts[: max(2, steps)])


def _tuning_runs(trace: Trace, load: Workload, name: str) -> float:
    """Return the work of `_tuned`, in runs of the whole trace."""
    excerpt, points = _excerpt(trace), len(_GRIDS[name](load))
    if excerpt is trace:
        return points
    return points * excerpt.duration_s / trace.duration_s + min(points, FINALISTS)


def _tuned(
    pool: Executor, trace: Trace, load: Workload, name: str, attainment: float, meter: _Meter, suffix: str
) -> Result:
    """Return the cheapest point that serves at least demand's minutes, else the one that serves most."""
    excerpt, points = _excerpt(trace), _GRIDS[name](load)

    def best(over: Trace, of: Sequence[Point], count: int, what: str) -> list[tuple[Point, Result]]:
        def advance(n: int) -> None:
            text = f"{name}{suffix}, {what} {n} of {len(of)}"
            meter.advance(over.duration_s / trace.duration_s, text)

        return _best(pool, over, load, of, attainment, count, advance)

    if excerpt is not trace:
        points = [point for point, _ in best(excerpt, points, FINALISTS, "setting")]
        ((point, result),) = best(trace, points, 1, "finalist")
    else:
        ((point, result),) = best(trace, points, 1, "setting")
    return msgspec.structs.replace(result, settings=point.describe())


def _best(
    pool: Executor,
    trace: Trace,
    load: Workload,
    points: Sequence[Point],
    attainment: float,
    count: int,
    advance: Callable[[int], None],
) -> list[tuple[Point, Result]]:
    """Return the best `count` points, with results. A run ends early once it is worse than that many others."""
    waiting = iter(enumerate(points))
    jobs: dict[Future[Result | None], int] = {}
    found: list[tuple[tuple[bool, float], int, Result]] = []
    done = 0
    while True:
        # Few at a time, so that each starts with the bar of those before.
        for i, point in itertools.islice(waiting, (os.cpu_count() or 1) + 1 - len(jobs)):
            jobs[pool.submit(_at, trace, load, point, _bar(found, attainment, count))] = i
        if not jobs:
            return [(points[i], result) for _, i, result in found[:count]]
        for job in wait(jobs, return_when=FIRST_COMPLETED).done:
            i, result = jobs.pop(job), job.result()
            done += 1
            advance(done)
            if result:
                found.append((_worth(result, attainment), i, result))
                found.sort(key=lambda each: each[:2])


def _bar(found: Sequence[tuple[tuple[bool, float], int, Result]], attainment: float, count: int) -> Bar | None:
    """Return what a run has to reach to be among the best `count`."""
    if len(found) < count:
        return None
    (is_missed, _), _, result = found[count - 1]
    if is_missed:
        return Bar(window_attainment=result.window_attainment)
    return Bar(replica_hours=result.replica_hours, window_attainment=attainment)


def _at(trace: Trace, load: Workload, point: Point, bar: Bar | None) -> Result | None:
    try:
        return _run(point.policy(load), trace, load, bar=bar)
    except BarMissed:
        return None


def _worth(result: Result, attainment: float) -> tuple[bool, float]:
    missed = result.window_attainment < attainment
    return missed, -result.window_attainment if missed else result.replica_hours
