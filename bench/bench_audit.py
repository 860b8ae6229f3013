"""The audit's choice against an exhaustive search in hindsight, on eight traces.

    python -m bench.bench_audit [--hours HOURS] [--latency SECONDS]

The traces are the generated ones of one day at most, and those that no constant was tuned on. Cold starts alternate
between 60 and 300 s. The exhaustive search simulates each static fleet, each setting of the lag policy, and demand at
each loss budget and each minimum of replicas. It leaves out only replicas that alone cost more than the best found.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from concurrent.futures import Executor

import msgspec
from rich.console import Console
from rich.table import Table

from bench.bench_scaling import LATENCY_TARGET_S, UNTUNED_SEED, load_of
from tidegate.audit.arrivals import BUDGETS
from tidegate.audit.candidates import Candidate, bases, families, lags
from tidegate.audit.costs import ENOUGH, audit
from tidegate.audit.pattern import HOUR_S
from tidegate.audit.search import Goal, Row, best
from tidegate.audit.trial import simulate
from tidegate.simulation.compare import peak
from tidegate.simulation.engine import Workload, worker_pool
from tidegate.simulation.generate import generated, untuned
from tidegate.simulation.trace import Trace

COLD_STARTS_S = (60.0, 300.0)
HOURS = 5.0
# The grid's loss budgets, as parts of the stated loss: finer than the audit's.
BUDGET_SHARES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
GOAL = Goal(enough=ENOUGH, loss=max(BUDGETS))
COLUMNS = (
    "trace, cold start",
    "audit",
    "replica-hours",
    "in hindsight",
    "replica-hours",
    "ratio",
    "never analysed",
    "simulated once more: served, never analysed",
    "simulations",
    "in hindsight",
    "took",
)
out = Console(width=220, highlight=False)


def loads(hours: float, latency_s: float) -> Iterator[tuple[Trace, Workload]]:
    """Yield the traces and their workloads. At most twice the replicas of the peak may run, as in an audit."""
    traces = [*(t for t in generated() if t.duration_s < 24 * HOUR_S), *untuned(UNTUNED_SEED)]
    for n, long in enumerate(traces):
        trace = Trace(long.name, long.step_s, long.counts[: int(hours * HOUR_S / long.step_s)])
        load = load_of(trace, COLD_STARTS_S[n % len(COLD_STARTS_S)], latency_s)
        yield trace, msgspec.structs.replace(load, max_replicas=2 * peak(trace, load))


def exhaustive(pool: Executor, trace: Trace, load: Workload) -> tuple[Row, int]:
    """Return the best of all candidates, and the number of simulations."""
    base, hours = bases("cv"), trace.duration_s / HOUR_S
    tried = families(base, trace, load, [GOAL.loss * share for share in BUDGET_SHARES])
    searched = [family for family in tried if family.most > family.least]
    points = [(0, c) for c in lags(base, load)] + [(each.least, each.at(each.least)) for each in searched]
    rows = _simulated(pool, [c for _, c in points], trace, load)
    for replicas in range(1, load.max_replicas + 1):
        most = min((row.result.replica_hours for row in rows if GOAL.holds(row.result)), default=math.inf)
        if replicas * hours >= most:
            break
        points = [(replicas, each.at(replicas)) for each in searched if each.least < replicas]
        rows += _simulated(pool, [c for _, c in points], trace, load)
    return rows[best([row.result for row in rows], GOAL)], len(rows)


def _simulated(pool: Executor, candidates: list[Candidate], trace: Trace, load: Workload) -> list[Row]:
    jobs = [pool.submit(simulate, c, trace, load) for c in candidates]
    return [Row(c, job.result()) for c, job in zip(candidates, jobs, strict=True)]


def compare(pool: Executor, trace: Trace, load: Workload) -> list[str]:
    """Return the cells of a trace: the audit's choice and the best in hindsight."""
    began = time.monotonic()
    found = audit(bases("cv"), trace, load, BUDGETS, enough=GOAL.enough, pool=pool)
    audited_s = time.monotonic() - began
    hindsight, count = exhaustive(pool, trace, load)
    ratio = found.chosen.result.replica_hours / hindsight.result.replica_hours
    cells = [f"{trace.name}, {load.cold_start_s:g} s"]
    for row in (found.chosen, hindsight):
        r = row.result
        cells += [f"{row.label} ({row.settings})", f"{r.replica_hours:.1f}"]
    again = found.again
    return [
        *cells,
        f"{ratio:.3f}",
        f"{found.chosen.result.never_share:.2%}",
        f"{again.window_attainment:.1%}, {again.never_share:.2%}",
        f"{found.trials}",
        f"{count}",
        f"{audited_s:.0f} s",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=HOURS, help="of each trace, from its start")
    parser.add_argument("--latency", type=float, default=LATENCY_TARGET_S, help="target, in seconds")
    args = parser.parse_args()
    table = Table(*COLUMNS)
    with worker_pool() as pool:
        for trace, load in loads(args.hours, args.latency):
            cells = compare(pool, trace, load)
            out.print(", ".join(cells), style="dim")
            table.add_row(*cells)
    out.print(table)


if __name__ == "__main__":
    main()
