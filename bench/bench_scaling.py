"""Policies on traces: the cost of demand against the oracle, a static fleet and KEDA tuned in hindsight.

    python -m bench.bench_scaling [--traces DIR] [--latency SECONDS] [--hours HOURS] [--demand | --untuned | --seeds N]

The traces are every CSV file in DIR (columns t_s,arrivals; long ones from their start) and generated ones. A replica
does a tenth of the busiest minute, the default latency target is ten seconds, and cold starts are 4, 60 and 300 s.
Each policy runs twice: with all work in full, and with degradable work. Demand runs at several loss budgets, and at
several limits of deferred frames; --demand runs nothing else. --untuned runs the same on loads that no constant was
tuned on. --seeds runs demand on that many generated traces, and compares the mean cost of each budget with the next.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean

import msgspec
from rich.console import Console

from tidegate.keda.scaledobject import ScaledObject
from tidegate.local.scaling.scaled_objects import scaled_object, shipped
from tidegate.simulation.compare import ELASTIC_SUFFIX, NAMES, compare, with_and_without
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.generate import generated, untuned
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace, read
from tidegate.view.policies import describe, table

COLD_STARTS_S = (4.0, 60.0, 300.0)
LATENCY_TARGET_S = 10.0
REPLICAS = 10
MOST_HOURS = 120.0
# The loss budgets. The table of all policies with degradable work uses the first.
BUDGETS = (0.02, 0.0, 0.005, 0.01, 0.05, 0.1)
# The limits of deferred frames at the first budget; 0 plans as if nothing degraded.
LIMITS = (0.0, 0.02, 0.05, 0.1)
# The seed of the loads that nothing was tuned on.
UNTUNED_SEED = 20261201
POLICIES = tuple(name for name in NAMES if name != "clairvoyant")
out = Console(width=220, highlight=False)


class Run(msgspec.Struct, frozen=True):
    """One trace at one cold start. degraded, limited: demand with degradable work, at each budget and at each limit."""

    trace: Trace
    load: Workload
    results: dict[str, Result]
    degraded: dict[float, Result]
    limited: dict[float, Result]

    def of_oracle(self, result: Result) -> float:
        return result.replica_hours / self.results["clairvoyant"].replica_hours

    def ratio(self, to: str) -> float:
        return self.results["demand"].replica_hours / self.results[to].replica_hours


def load_of(trace: Trace, cold_start_s: float, latency_target_s: float) -> Workload:
    """Return a load whose replica does a tenth of the busiest minute, with four times as many replicas at most."""
    steps = max(1, round(60 / trace.step_s))
    counts = trace.counts[: len(trace.counts) // steps * steps].reshape(-1, steps).sum(axis=1)
    rate = float(counts.max()) / (steps * trace.step_s) / REPLICAS
    return Workload(
        service_rate=rate,
        cold_start_s=cold_start_s,
        latency_target_s=latency_target_s,
        max_replicas=4 * REPLICAS,
    )


def summary(runs: list[Run]) -> None:
    """Print means over all runs next to the targets, and over each cold start and trace."""
    out.print("\nmeans for demand", style="bold")
    _row("", 21, ["minutes served", "of oracle", "of static", "of tuned KEDA", "of tuned utilisation", "runs"])
    groups = _groups(runs)
    for name, group in groups:
        # Compare with a fleet for the peak only if the load varies.
        variable = [r for r in group if r.trace.mean_rate < 0.4 * r.trace.peak_rate]
        cells = [
            _served(group, "demand"),
            _mean_of_oracle(group, "demand"),
            f"{fmean(r.ratio('static_peak') for r in variable):.2f}" if variable else "",
            f"{fmean(r.ratio('lag_tuned') for r in group):.2f}",
            f"{fmean(r.ratio('utilisation_tuned') for r in group):.2f}",
            f"{len(group)}",
        ]
        _row(name, 21, cells)
    _row("target", 21, [">= 96.0%", "<= 1.25", "<= 0.50", "<= 0.75"])
    for tuned in ("lag_tuned", "utilisation_tuned"):
        reached = [r for r in runs if r.results[tuned].window_attainment >= r.results["demand"].window_attainment]
        out.print(
            f"{tuned} serves as many minutes as demand in {len(reached)} of {len(runs)} runs, and no setting else"
        )
    out.print("\nminutes served, and cost of the oracle", style="bold")
    names = ("keda_default", "lag_tuned", "utilisation", "utilisation_tuned", "demand")
    _row("", 18, names)
    for name, group in groups:
        _row(name, 18, [f"{_served(group, p)} at {_mean_of_oracle(group, p)}" for p in names])
    out.print(
        f"\nthe same with degradable work, and the deferred frames; demand at a loss budget of {BUDGETS[0]:.0%}",
        style="bold",
    )
    _row("", 23, POLICIES)
    for name, group in groups:
        degraded = [p + ELASTIC_SUFFIX for p in POLICIES]
        _row(
            name,
            23,
            [f"{_served(group, p)} at {_mean_of_oracle(group, p)}, {_deferred_share(group, p)}" for p in degraded],
        )


def frontier(runs: list[Run]) -> None:
    """Print what demand serves, costs, defers and loses at each budget and at each limit."""
    out.print("\ndemand with degradable work, by the loss budget, and by the limit of deferred frames", style="bold")
    _row("", 17, ["minutes served", "of oracle", "worst", "deferred", "never analysed", "worst", "backfilled"])
    for budget in sorted(BUDGETS):
        _frontier_row(f"loss budget {budget:.1%}", [(run, run.degraded[budget]) for run in runs])
    for limit in LIMITS:
        _frontier_row(f"{BUDGETS[0]:.0%}, limit {limit:.0%}", [(run, run.limited[limit]) for run in runs])


def _frontier_row(name: str, results: list[tuple[Run, Result]]) -> None:
    costs = [run.of_oracle(result) for run, result in results]
    never = [result.never_share for _, result in results]
    cells = [
        f"{fmean(result.window_attainment for _, result in results):.1%}",
        f"{fmean(costs):.3f}",
        f"{max(costs):.2f}",
        f"{fmean(result.deferred_share for _, result in results):.1%}",
        f"{fmean(never):.2%}",
        f"{max(never):.2%}",
        _backfilled_share([result for _, result in results]),
    ]
    _row(name, 17, cells)


def by_seed(count: int, latency_s: float, scaled: ScaledObject) -> None:
    """Print demand's cost at each budget over that many traces, and the traces on which a larger budget costs more."""
    budgets = sorted(BUDGETS)
    hours: dict[float, list[float]] = {budget: [] for budget in budgets}
    dearer: list[str] = []
    for seed, trace in islice(((s, t) for s in range(1, count + 1) for t in untuned(s)), count):
        load = load_of(trace, COLD_STARTS_S[seed % len(COLD_STARTS_S)], latency_s)
        for budget in budgets:
            elastic = msgspec.structs.replace(load, elastic=Elastic(), loss_budget=budget)
            (result,) = compare(trace, elastic, scaled, ("demand",))
            hours[budget].append(result.replica_hours)
        costs = [hours[budget][-1] for budget in budgets]
        dearer += [
            f"{trace.name} of seed {seed}: {high:.1%} costs {after / before - 1:.1%} more than {low:.1%}"
            for (low, before), (high, after) in pairwise(zip(budgets, costs, strict=True))
            if after > 1.01 * before
        ]
    out.print(f"\nreplica-hours of {count} traces, of those at {budgets[0]:.1%}", style="bold")
    for budget in budgets:
        shares = [after / before for before, after in zip(hours[budgets[0]], hours[budget], strict=True)]
        _row(f"loss budget {budget:.1%}", 17, [f"{fmean(shares):.3f}"])
    out.print("\n".join(dearer) or "no trace costs more at a larger budget")


def by_trace(runs: list[Run]) -> None:
    """Print the same at the first budget, for each cold start and each trace."""
    out.print(f"\nat a loss budget of {BUDGETS[0]:.0%}", style="bold")
    _row(
        "",
        17,
        ["minutes served", "of oracle", "deferred", "backfilled", "never analysed", "expired", "waited at the end"],
    )
    for name, group in _groups(runs):
        results = [run.degraded[BUDGETS[0]] for run in group]
        expired = sum(r.expired for r in results)
        cells = [
            f"{fmean(r.window_attainment for r in results):.1%}",
            f"{fmean(run.of_oracle(run.degraded[BUDGETS[0]]) for run in group):.2f}",
            f"{fmean(r.deferred_share for r in results):.1%}",
            _backfilled_share(results),
            f"{fmean(r.never_share for r in results):.2%}",
            f"{expired:,}",
            f"{sum(r.deferred - r.backfilled for r in results) - expired:,}",
        ]
        _row(name, 17, cells)


def _row(name: str, width: int, cells: Sequence[str]) -> None:
    out.print(f"{name:24} " + " ".join(f"{cell:>{width}}" for cell in cells))


def _backfilled_share(results: list[Result]) -> str:
    """Return the backfilled share of the deferred segments that do not wait any more."""
    done = sum(r.backfilled for r in results)
    finished = done + sum(r.expired for r in results)
    return f"{done / finished:.1%}" if finished else ""


def _groups(runs: list[Run]) -> list[tuple[str, list[Run]]]:
    """Return all runs, then those of each cold start and of each trace."""
    groups = [("all", runs)]
    groups += [(f"cold start {s:g} s", [r for r in runs if r.load.cold_start_s == s]) for s in COLD_STARTS_S]
    groups += [(name, [r for r in runs if r.trace.name == name]) for name in dict.fromkeys(r.trace.name for r in runs)]
    return [(name, group) for name, group in groups if group]


def _served(runs: list[Run], policy: str) -> str:
    return f"{fmean(r.results[policy].window_attainment for r in runs):.1%}"


def _mean_of_oracle(runs: list[Run], policy: str) -> str:
    return f"{fmean(r.of_oracle(r.results[policy]) for r in runs):.2f}"


def _deferred_share(runs: list[Run], policy: str) -> str:
    return f"{fmean(r.results[policy].deferred_share for r in runs):.0%}"


def _recorded(folder: Path) -> list[Trace]:
    traces = [read(path) for path in sorted(folder.glob("*.csv"))]
    if not traces:
        out.print(f"no traces in {folder}: the generated ones alone")
    return traces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--latency", type=float, default=LATENCY_TARGET_S)
    parser.add_argument("--hours", type=float, default=MOST_HOURS, help="of each trace, from its start")
    parser.add_argument("--demand", action="store_true", help="demand alone, next to the oracle")
    parser.add_argument("--untuned", action="store_true", help="demand alone, on loads that nothing was tuned on")
    parser.add_argument("--seeds", type=int, help="demand alone, by budget, on that many generated traces")
    args = parser.parse_args()
    scaled = scaled_object("cv", shipped("demand/cv.yaml"))
    if args.seeds:
        by_seed(args.seeds, args.latency, scaled)
        return
    traces = untuned(UNTUNED_SEED) if args.untuned else [*_recorded(args.traces), *generated()]
    runs = []
    all_ = [Trace(t.name, t.step_s, t.counts[: max(2, int(args.hours * 3600 / t.step_s))]) for t in traces]
    for trace in all_:
        for cold_start_s in COLD_STARTS_S:
            load = load_of(trace, cold_start_s, args.latency)
            began = time.monotonic()
            first = msgspec.structs.replace(load, loss_budget=BUDGETS[0])
            if args.demand or args.untuned:
                results = with_and_without(trace, first, scaled, ("demand", "clairvoyant"))
            else:
                results = with_and_without(trace, first, scaled)
            degraded = {BUDGETS[0]: next(r for r in results if r.name == "demand" + ELASTIC_SUFFIX)}
            elastic = msgspec.structs.replace(first, elastic=Elastic())
            for budget in BUDGETS[1:]:
                (degraded[budget],) = compare(
                    trace, msgspec.structs.replace(elastic, loss_budget=budget), scaled, ("demand",)
                )
            limited = {}
            for limit in LIMITS:
                (limited[limit],) = compare(
                    trace, msgspec.structs.replace(elastic, defer_limit=limit), scaled, ("demand",)
                )
            out.print("\n" + describe(trace, load), style="bold")
            out.print(table(results))
            for result in results:
                if result.settings:
                    out.print(f"{result.name}: {result.settings}", style="dim")
            out.print(f"{time.monotonic() - began:.0f} s", style="dim")
            runs.append(Run(trace, load, {r.name: r for r in results}, degraded, limited))
    if not (args.demand or args.untuned):
        summary(runs)
    frontier(runs)
    by_trace(runs)


if __name__ == "__main__":
    main()
