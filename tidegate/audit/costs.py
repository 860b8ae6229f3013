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
from functools import partial

import msgspec
import numpy as np

from tidegate.audit.candidates import (
    DEGRADABLE,
    DEMAND,
    KINDS,
    LAG,
    Bases,
    Candidate,
    Family,
    demand,
    families,
    lags,
    single,
)
from tidegate.audit.pattern import DAY_S, HOUR_S
from tidegate.audit.search import Goal, Row, best, search
from tidegate.audit.trial import simulate
from tidegate.simulation.compare import initial
from tidegate.simulation.engine import Result, Workload, worker_pool
from tidegate.simulation.oracle import run_oracle
from tidegate.simulation.trace import Trace

# Default for the share of minutes that has to be served.
ENOUGH = 0.99
# Limits in days: of the simulated part of a trace, and of the part that tunes the lag policy.
MOST_DAYS = 7
TUNED_DAYS = 1
A_MONTH_S = 30 * DAY_S
# Demand is simulated with this share of the cold start too, unless the cold start is shorter than this.
SOONER, LEAST_COLD_START_S = 1 / 3, 10.0
# The recommended file is simulated once more with other arrivals within each step, and other times of the work.
SECOND_SEED = 2


class Sooner(msgspec.Struct, frozen=True):
    """The demand policy if a replica were ready within `cold_start_s`."""

    cold_start_s: float
    row: Row


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """simulated: the part of the trace behind the rows. first_day: its offset in the trace, in days. chosen: the
    recommended row: the cheapest that holds `goal`, else the one that serves most. others: candidates that were
    simulated but can't be recommended. again: the recommended file, simulated once more with other random numbers.
    sooner: a shorter cold start; None if the present one is short, or if none holds. trials: number of simulations.
    """

    simulated: Trace
    first_day: int
    rows: list[Row]
    others: list[Row] = []
    chosen: Row
    goal: Goal
    again: Result
    sooner: Sooner | None = None
    trials: int

    def a_month(self, row: Row) -> float:
        """Return replica-hours per thirty days."""
        return row.result.replica_hours * A_MONTH_S / self.simulated.duration_s

    @property
    def baseline(self) -> Row:
        """What a saving is counted against: the scaling in force, or a fixed fleet."""
        return self.others[0] if self.others else self.rows[0]

    @property
    def runner_up(self) -> Row | None:
        """What would be recommended without the recommended row."""
        rest = [row for row in self.rows if row.candidate and row is not self.chosen]
        return rest[best([row.result for row in rest], self.goal)] if rest else None

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
    """Search the cheapest candidate. budgets: values of lossBudget; the largest is the share of frames that may be
    lost. enough: the share of minutes that has to be served. kinds: policies to compare with the static fleets. extra:
    candidates that are never recommended. pool: simulating processes; None starts one for each core. tell: receives the
    current step. done: receives the finished share.
    """
    simulated, first_day = busiest(trace, MOST_DAYS)
    goal, hours = Goal(enough=enough, loss=max(budgets, default=1.0)), simulated.duration_s / HOUR_S
    tried = families(base, simulated, load, budgets, kinds)
    with nullcontext(pool) if pool else worker_pool() as pool:
        trials = _Trials(pool, simulated, tell, done)
        oracle = pool.submit(run_oracle, simulated, load, initial=initial(simulated, load))
        if LAG in kinds:
            at = next((i for i, family in enumerate(tried) if family.name.startswith(DEMAND)), len(tried))
            points, (day, _) = lags(base, load), busiest(simulated, TUNED_DAYS)
            trials.set_left(len(points) * day.duration_s / simulated.duration_s + len(tried) + len(extra) + 1)
            tried.insert(at, single(points[best(trials.run(points, load, day), goal)]))
        run = partial(trials.run, load=load)
        rows = search(tried, run, goal, hours=hours, left=lambda n: trials.set_left(n + len(extra) + 1))
        chosen = rows[best([row.result for row in rows], goal)]
        assert chosen.candidate
        again = pool.submit(simulate, chosen.candidate, simulated, msgspec.structs.replace(load, seed=SECOND_SEED))
        others = list(map(Row, extra, trials.run(extra, load)))
        sooner = _sooner(trials, base, load, tried, goal, hours)
        tell("computing the oracle")
        rows.append(Row(None, oracle.result()))
        done(1.0)
    return Costs(
        simulated=simulated,
        first_day=first_day,
        rows=rows,
        others=others,
        chosen=chosen,
        goal=goal,
        again=again.result(),
        sooner=sooner,
        trials=trials.count + 1,
    )


class _Trials:
    """Simulates in processes. Counts the simulations, and reports the finished share of all work."""

    def __init__(
        self, pool: Executor, trace: Trace, tell: Callable[[str], None], done: Callable[[float], None]
    ) -> None:
        self._pool, self._trace, self._tell, self._done = pool, trace, tell, done
        self._runs = self._left = self._share = 0.0
        self.count = 0

    def set_left(self, runs: float) -> None:
        """Set the most work that may follow, in runs of the whole trace."""
        self._left = runs

    def run(self, candidates: Sequence[Candidate], load: Workload, part: Trace | None = None) -> list[Result]:
        """Return the result of each candidate, in order. The last candidates take longest, so they start first. part:
        of the trace; None for all of it.
        """
        trace = part or self._trace
        jobs = {self._pool.submit(simulate, c, trace, load): i for i, c in reversed(list(enumerate(candidates)))}
        results: dict[int, Result] = {}
        for job in as_completed(jobs):
            results[jobs[job]] = job.result()
            self.count += 1
            runs = trace.duration_s / self._trace.duration_s
            self._runs, self._left = self._runs + runs, max(0.0, self._left - runs)
            # A bound of what may follow can rise.
            self._share = max(self._share, self._runs / (self._runs + self._left))
            self._done(self._share)
            self._tell(f"{self.count} simulations done")
        return [results[i] for i in range(len(candidates))]


def _sooner(
    trials: _Trials, base: Bases, load: Workload, tried: Sequence[Family], goal: Goal, hours: float
) -> Sooner | None:
    """Return the last demand policy that was tried, which loses most, if replicas were ready sooner."""
    names = [family.name for family in tried if family.is_minimum]
    if load.cold_start_s < LEAST_COLD_START_S or not names:
        return None
    load = msgspec.structs.replace(load, cold_start_s=round(load.cold_start_s * SOONER, 1))
    budget = goal.loss if names[-1].startswith(DEGRADABLE) else None
    run = partial(trials.run, load=load)
    (row,) = search([demand(base, load, budget)], run, goal, hours=hours, left=trials.set_left)
    return Sooner(load.cold_start_s, row) if goal.holds(row.result) else None


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
