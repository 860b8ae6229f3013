"""The cost of each candidate ScaledObject on the arrivals, and the recommendation.

Example:
    found = audit(bases("cv"), trace, load, budgets=(0.0, 0.01, 0.02), tell=print)
    found.rows, found.chosen.candidate.text
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import nullcontext

import msgspec
import numpy as np

from tidegate.audit.candidates import (
    DEGRADABLE,
    DEMAND,
    KEDA_DEFAULT,
    KINDS,
    LAG,
    STATIC,
    STATIC_DEGRADABLE,
    Bases,
    Candidate,
    candidates,
    degradable_static,
    lags,
)
from tidegate.audit.pattern import DAY_S
from tidegate.keda.scaledobject import parse
from tidegate.local.scaling import scaled_objects
from tidegate.simulation.compare import initial, peak
from tidegate.simulation.engine import Policy, Result, Workload, run, worker_pool
from tidegate.simulation.oracle import run_oracle
from tidegate.simulation.policies import KedaDemand, KedaLag
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace

# Default for the share of minutes that has to be served.
ENOUGH = 0.99
ORACLE = "bound"
# Limits in days: of the simulated part of a trace, and of the part that tunes the lag policy.
MOST_DAYS = 7
TUNED_DAYS = 1
A_MONTH_S = 30 * DAY_S


class Row(msgspec.Struct, frozen=True):
    """candidate: None for the oracle, which no ScaledObject reaches."""

    candidate: Candidate | None
    result: Result

    @property
    def name(self) -> str:
        return self.candidate.name if self.candidate else ORACLE

    @property
    def label(self) -> str:
        """Its name on screen; `name` is its key in JSON."""
        if not self.candidate:
            return "oracle"
        return self.name.replace(DEGRADABLE, f"{DEMAND}, degrades").replace(STATIC_DEGRADABLE, "static, degrades")


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """simulated: the part of the trace behind the rows. first_day: its offset in the trace, in days. chosen: the
    recommended row: the cheapest that serves the share `enough` of the minutes and loses the share `loss` of the frames
    at most, else the one that serves most. others: candidates that were simulated but can't be recommended.
    """

    simulated: Trace
    first_day: int
    rows: list[Row]
    others: list[Row] = []
    chosen: Row
    enough: float
    loss: float = 1.0

    def a_month(self, row: Row) -> float:
        """Return replica-hours per thirty days."""
        return row.result.replica_hours * A_MONTH_S / self.simulated.duration_s

    @property
    def baseline(self) -> Row:
        """What a saving is counted against: the scaling in force, or a fixed fleet for the peak."""
        return self.others[0] if self.others else self.rows[0]

    @property
    def runner_up(self) -> Row | None:
        """What would be recommended without the recommended row."""
        rest = [row for row in self.rows if row.candidate and row is not self.chosen]
        return rest[best([row.result for row in rest], self.enough, self.loss)] if rest else None

    def saved(self, row: Row) -> float:
        """Return the replica-hours per thirty days that it saves; below 0 if it costs more."""
        return self.a_month(self.baseline) - self.a_month(row)


def audit(
    base: Bases,
    trace: Trace,
    load: Workload,
    budgets: Sequence[float],
    *,
    enough: float = ENOUGH,
    kinds: Collection[str] = KINDS,
    extra: Sequence[Candidate] = (),
    pool: Executor | None = None,
    tell: Callable[[str], None] = lambda text: None,
    done: Callable[[float], None] = lambda share: None,
) -> Costs:
    """Simulate every candidate. budgets: values of lossBudget; the largest is the share of frames that may be lost.
    enough: the share of minutes that has to be served. kinds: policies to compare with the
    static fleet. extra: candidates that are never recommended. pool: simulating processes; None starts one for each
    core. tell: receives the current step. done: receives the finished share.
    """
    simulated, first_day = busiest(trace, MOST_DAYS)
    day, _ = busiest(simulated, TUNED_DAYS)
    points = lags(base, load) if LAG in kinds else []
    trials = [c for c in candidates(base, simulated, load, budgets) if c.kind in (STATIC, *kinds)]
    with nullcontext(pool) if pool else worker_pool() as pool:
        count = len(trials) + bool(points) + len(extra)
        meter = _ProgressMeter(day.duration_s * len(points) + simulated.duration_s * (count + 1), done)
        if points:
            lag = _tuned(pool, points, day, load, enough, meter, tell)
            trials.insert(1 + (trials[1:2] != [] and trials[1].kind == KEDA_DEFAULT), lag)
        oracle = pool.submit(run_oracle, simulated, load, initial=initial(simulated, load))
        has_static = base.put_off is not None and DEGRADABLE in kinds and budgets
        static = pool.submit(_least_static, base, simulated, load, max(budgets), enough) if has_static else None

        def report_progress(n: int) -> None:
            meter.advance(simulated.duration_s)
            tell(f"simulated {n} of {count} ways to scale")

        results = _results(pool, [*trials, *extra], simulated, load, report_progress)
        tell("computing the oracle")
        rows = [Row(c, result) for c, result in zip(trials, results, strict=False)]
        if static:
            tell("searching the smallest fleet that degrades")
            rows.insert(1, static.result())
        others = [Row(c, result) for c, result in zip(extra, results[len(trials) :], strict=True)]
        loss = max(budgets, default=1.0)
        chosen = rows[best([row.result for row in rows], enough, loss)]
        rows.append(Row(None, oracle.result()))
        done(1.0)
    return Costs(
        simulated=simulated, first_day=first_day, rows=rows, others=others, chosen=chosen, enough=enough, loss=loss
    )


class _ProgressMeter:
    """Reports the finished share of `seconds` of simulated time."""

    def __init__(self, seconds: float, tell: Callable[[float], None]) -> None:
        self._all, self._done, self._tell = seconds, 0.0, tell

    def advance(self, seconds: float) -> None:
        self._done += seconds
        self._tell(self._done / self._all)


def _tuned(
    pool: Executor,
    points: Sequence[Candidate],
    day: Trace,
    load: Workload,
    enough: float,
    meter: _ProgressMeter,
    tell: Callable[[str], None],
) -> Candidate:
    """Return the best of the rule by lag's settings on a day."""
    tell(f"tuning the rule by lag, {len(points)} settings")

    def report(n: int) -> None:
        meter.advance(day.duration_s)
        tell(f"tuning the rule by lag, setting {n} of {len(points)}")

    return points[best(_results(pool, points, day, load, report), enough)]


def _results(
    pool: Executor, trials: Sequence[Candidate], trace: Trace, load: Workload, report_progress: Callable[[int], None]
) -> list[Result]:
    """Return the result of each candidate, in order. The last candidates take longest, so they start first."""
    jobs = {pool.submit(simulate, c, trace, load): i for i, c in reversed(list(enumerate(trials)))}
    results: dict[int, Result] = {}
    for n, job in enumerate(as_completed(jobs), 1):
        results[jobs[job]] = job.result()
        report_progress(n)
    return [results[i] for i in range(len(trials))]


def _least_static(base: Bases, trace: Trace, load: Workload, budget: float, enough: float) -> Row:
    """Return the smallest static fleet with degradable work that serves the minutes and loses no more frames."""
    low, high = 1, peak(trace, load)
    found: dict[int, Row] = {}

    def row(replicas: int) -> Row:
        if replicas not in found:
            candidate = degradable_static(base, load, replicas, budget)
            found[replicas] = Row(candidate, simulate(candidate, trace, load))
        return found[replicas]

    while low < high:
        middle = (low + high) // 2
        result = row(middle).result
        if result.window_attainment >= enough and round(result.never_share, 3) <= budget:
            high = middle
        else:
            low = middle + 1
    return row(low)


def simulate(candidate: Candidate, trace: Trace, load: Workload) -> Result:
    """Simulate a ScaledObject on a trace. Its manifest alone sets the bounds of replicas."""
    scaled = parse(candidate.text, candidate.name)
    load = msgspec.structs.replace(
        load,
        min_replicas=scaled.spec.min_replica_count,
        max_replicas=scaled.spec.max_replica_count,
        elastic=Elastic() if candidate.degradable else None,
    )
    queries = scaled_objects.demand_queries(scaled)
    policy: Policy = KedaLag(candidate.name, scaled)
    if queries:
        policy = KedaDemand(candidate.name, scaled, queries[0].settings, retention_s=load.max_age_s)
    return run(policy, trace, load, initial=initial(trace, load))


def best(results: Sequence[Result], enough: float = ENOUGH, loss: float = 1.0) -> int:
    """Return the index of the recommended result: see `Costs`. Shares of lost frames are compared as they are shown."""

    def rank(result: Result) -> tuple[bool, float]:
        is_missed = result.window_attainment < enough or round(result.never_share, 3) > loss
        return is_missed, -result.window_attainment if is_missed else result.replica_hours

    return min(range(len(results)), key=lambda i: rank(results[i]))


def busiest(trace: Trace, days: int) -> tuple[Trace, int]:
    """Return the busiest `days` of a trace and their first day; a trace that is hardly longer is returned whole."""
    day, steps = DAY_S / trace.step_s, math.ceil(days * DAY_S / trace.step_s)
    if len(trace.counts) <= steps * 1.1:
        return trace, 0
    total = np.concatenate(([0], np.cumsum(trace.counts)))
    begins = [round(n * day) for n in range(int((len(trace.counts) - steps) / day) + 1)]
    first = max(range(len(begins)), key=lambda n: total[begins[n] + steps] - total[begins[n]])
    at = begins[first]
    return Trace(trace.name, trace.step_s, trace.counts[at : at + steps]), first
