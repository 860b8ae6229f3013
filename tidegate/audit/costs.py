"""Each ScaledObject over the arrivals: what it would have cost, and which is recommended.

found = audit(bases("cv"), trace, load, budgets=(0.0, 0.02, 0.06), tell=print)
found.rows, found.chosen.candidate.text
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import nullcontext

import msgspec
import numpy as np

from tidegate.audit.candidates import KEDA_DEFAULT, KINDS, LAG, STATIC, Bases, Candidate, candidates, lags
from tidegate.audit.pattern import DAY_S
from tidegate.keda.scaledobject import parse
from tidegate.local import elastic
from tidegate.simulation import pools
from tidegate.simulation.compare import initial
from tidegate.simulation.engine import Policy, Result, Workload, run
from tidegate.simulation.oracle import run_oracle
from tidegate.simulation.policies import KedaDemand, KedaLag
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace

# The share of minutes that has to be served, unless it is said otherwise.
ENOUGH = 0.99
BOUND = "bound"
# Of a longer trace so many days are simulated, and the rule by lag is tuned on one of these.
MOST_DAYS = 7
TUNED_DAYS = 1
A_MONTH_S = 30 * DAY_S


class Row(msgspec.Struct, frozen=True):
    """candidate: None of the bound, which no ScaledObject reaches."""

    candidate: Candidate | None
    result: Result

    @property
    def name(self) -> str:
        return self.candidate.name if self.candidate else BOUND


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """simulated: the part of the trace that the rows are of, and which of its days it begins with. chosen: the row that
    is recommended: the cheapest that serves the share `enough` of the minutes, or else the one that serves most.
    others: what was simulated beside them.
    """

    simulated: Trace
    first_day: int
    rows: list[Row]
    others: list[Row] = []
    chosen: Row
    enough: float

    def a_month(self, row: Row) -> float:
        """Replica-hours of thirty such days."""
        return row.result.replica_hours * A_MONTH_S / self.simulated.duration_s


def audit(
    of: Bases,
    trace: Trace,
    load: Workload,
    budgets: Sequence[float],
    *,
    enough: float = ENOUGH,
    only: Collection[str] = KINDS,
    also: Sequence[Candidate] = (),
    pool: Executor | None = None,
    tell: Callable[[str], None] = lambda text: None,
    done: Callable[[float], None] = lambda share: None,
) -> Costs:
    """Simulate every candidate. enough: the share of minutes that has to be served. only: kinds that are tried beside
    the static fleet. also: what is simulated too, and never recommended. pool: processes that simulate; without one,
    as many as there are cores. tell: is told what goes on, and done: what share of it is done.
    """
    simulated, first_day = busiest(trace, MOST_DAYS)
    day, _ = busiest(simulated, TUNED_DAYS)
    points = lags(of, load) if LAG in only else []
    tried = [c for c in candidates(of, simulated, load, budgets) if c.kind in (STATIC, *only)]
    with nullcontext(pool) if pool else pools.pool() as pool:
        count = len(tried) + bool(points) + len(also)
        left = _Left(day.duration_s * len(points) + simulated.duration_s * (count + 1), done)
        if points:
            tell(f"tuning the rule by lag, {len(points)} settings")
            found = _results(pool, points, day, load, lambda _: left.less(day.duration_s))
            tried.insert(1 + (tried[1:2] != [] and tried[1].kind == KEDA_DEFAULT), points[best(found, enough)])
        least = pool.submit(run_oracle, simulated, load, initial=initial(simulated, load))

        def told(n: int) -> None:
            left.less(simulated.duration_s)
            tell(f"simulated {n} of {count} ways to scale")

        results = _results(pool, [*tried, *also], simulated, load, told)
        tell("computing the bound")
        rows = [Row(c, result) for c, result in zip(tried, results, strict=False)]
        others = [Row(c, result) for c, result in zip(also, results[len(tried) :], strict=True)]
        chosen = rows[best([row.result for row in rows], enough)]
        rows.append(Row(None, least.result()))
        done(1.0)
    return Costs(simulated=simulated, first_day=first_day, rows=rows, others=others, chosen=chosen, enough=enough)


class _Left:
    """Tells what share of so many simulated seconds is done."""

    def __init__(self, seconds: float, tell: Callable[[float], None]) -> None:
        self._all, self._done, self._tell = seconds, 0.0, tell

    def less(self, seconds: float) -> None:
        self._done += seconds
        self._tell(self._done / self._all)


def _results(
    pool: Executor, tried: Sequence[Candidate], trace: Trace, load: Workload, told: Callable[[int], None]
) -> list[Result]:
    """What each costs, in their order. told: of how many are done. The longest, which come last, begin first."""
    jobs = {pool.submit(simulate, c, trace, load): i for i, c in reversed(list(enumerate(tried)))}
    results: dict[int, Result] = {}
    for n, job in enumerate(as_completed(jobs), 1):
        results[jobs[job]] = job.result()
        told(n)
    return [results[i] for i in range(len(tried))]


def simulate(candidate: Candidate, trace: Trace, load: Workload) -> Result:
    """What a ScaledObject costs on a trace: all that is said of its replicas is what its file says."""
    scaled = parse(candidate.text, candidate.name)
    load = msgspec.structs.replace(
        load,
        min_replicas=scaled.spec.min_replica_count,
        max_replicas=scaled.spec.max_replica_count,
        elastic=Elastic() if candidate.degradable else None,
    )
    asked = elastic.demand_queries(scaled)
    policy: Policy = KedaLag(candidate.name, scaled)
    if asked:
        policy = KedaDemand(candidate.name, scaled, asked[0].settings, retention_s=load.max_age_s)
    return run(policy, trace, load, initial=initial(trace, load))


def best(results: Sequence[Result], enough: float = ENOUGH) -> int:
    """Which is recommended: see `Costs`."""

    def worth(result: Result) -> tuple[bool, float]:
        missed = result.window_attainment < enough
        return missed, -result.window_attainment if missed else result.replica_hours

    return min(range(len(results)), key=lambda i: worth(results[i]))


def busiest(trace: Trace, days: int) -> tuple[Trace, int]:
    """The part of so many days in which most arrives, and which day of the trace it begins with; or all of it."""
    day, steps = DAY_S / trace.step_s, math.ceil(days * DAY_S / trace.step_s)
    if len(trace.counts) <= steps * 1.1:
        return trace, 0
    total = np.concatenate(([0], np.cumsum(trace.counts)))
    begins = [round(n * day) for n in range(int((len(trace.counts) - steps) / day) + 1)]
    first = max(range(len(begins)), key=lambda n: total[begins[n] + steps] - total[begins[n]])
    at = begins[first]
    return Trace(trace.name, trace.step_s, trace.counts[at : at + steps]), first
