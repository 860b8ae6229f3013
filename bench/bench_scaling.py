"""Policies on traces: the cost of demand against the oracle, a static fleet and KEDA tuned in hindsight.

    python -m bench.bench_scaling [--traces DIR] [--latency SECONDS] [--hours HOURS] [--demand | --grace]

The traces are every CSV file in DIR (columns t_s,arrivals; long ones from their start) and generated ones. A replica
does a tenth of the busiest minute, the default latency target is ten seconds, and cold starts are 4, 60 and 300 s.
Each policy runs twice: with all work in full, and with degradable work. Demand runs at several deferral budgets;
--demand runs nothing else. --grace runs only demand at the first budget: with deferred work that requests replicas
before it expires, and without.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec
from rich.console import Console

from tidegate.keda.scaledobject import ScaledObject
from tidegate.local.scaling.scaled_objects import scaled_object, shipped
from tidegate.simulation.compare import ELASTIC_SUFFIX, NAMES, compare, with_and_without
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.generate import generated
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace, read
from tidegate.view.policies import describe, table

COLD_STARTS_S = (4.0, 60.0, 300.0)
LATENCY_TARGET_S = 10.0
REPLICAS = 10
MOST_HOURS = 120.0
# The deferral budgets. The table of all policies with degradable work uses the first.
BUDGETS = (0.06, 0.0, 0.01, 0.02, 0.05, 0.1)
# Its bursts of seconds end before any replica is ready, so no policy stays within a budget.
BURSTY = "azure_llm_code_2023"
POLICIES = tuple(name for name in NAMES if name != "clairvoyant")
# Deferred work requests replicas in its last 200 s, or 100 s more than a cold start.
GRACE_S, GRACE_AFTER_S = 200.0, 100.0
out = Console(width=220, highlight=False)


class Run(msgspec.Struct, frozen=True):
    """One trace at one cold start. degraded: demand with degradable work, at each budget."""

    trace: Trace
    load: Workload
    results: dict[str, Result]
    degraded: dict[float, Result]

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
    _row("", 21, ["minutes served", "of bound", "of static", "of tuned KEDA", "of tuned utilisation", "runs"])
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
    out.print("\nminutes served, and cost of the bound", style="bold")
    names = ("keda_default", "lag_tuned", "utilisation", "utilisation_tuned", "demand")
    _row("", 18, names)
    for name, group in groups:
        _row(name, 18, [f"{_served(group, p)} at {_mean_of_oracle(group, p)}" for p in names])
    out.print(f"\nthe same with work that bends, and what was left out; demand at {BUDGETS[0]:.0%}", style="bold")
    _row("", 23, POLICIES)
    for name, group in groups:
        degraded = [p + ELASTIC_SUFFIX for p in POLICIES]
        _row(
            name,
            23,
            [f"{_served(group, p)} at {_mean_of_oracle(group, p)}, {_deferred_share(group, p)}" for p in degraded],
        )


def frontier(runs: list[Run]) -> None:
    """Print what demand serves, costs and defers at each budget, and the share that it backfills."""
    out.print("\ndemand with work that bends, by the budget of what may be left out", style="bold")
    head = ["minutes served", "of bound", "left out", "the same but one", "of all frames", "kept in", "made good"]
    _row("", 17, head)
    for budget in sorted(BUDGETS):
        results = [run.degraded[budget] for run in runs]
        others = [(run, run.degraded[budget]) for run in runs if run.trace.name != BURSTY]
        left = sum(r.deferred_share * run.trace.total for run, r in others) / sum(run.trace.total for run, _ in others)
        cells = [
            f"{fmean(r.window_attainment for r in results):.1%}",
            f"{fmean(run.of_oracle(run.degraded[budget]) for run in runs):.2f}",
            f"{fmean(r.deferred_share for r in results):.1%}",
            f"{fmean(r.deferred_share for _, r in others):.1%}",
            f"{left:.1%}",
            f"{sum(abs(r.deferred_share - budget) <= budget / 3 for _, r in others)} of {len(others)}",
            _backfilled_share(results),
        ]
        _row(f"{budget:.0%}", 17, cells)
    out.print(f"'the same but one' and the next two are without {BURSTY}; 'kept in': within a third of the budget")


def by_trace(runs: list[Run]) -> None:
    """Print the same at the first budget, for each cold start and each trace."""
    out.print(f"\nat a budget of {BUDGETS[0]:.0%}", style="bold")
    _row("", 17, ["minutes served", "of bound", "left out", "made good", "expired", "waited at the end"])
    for name, group in _groups(runs):
        results = [run.degraded[BUDGETS[0]] for run in group]
        expired = sum(r.expired for r in results)
        cells = [
            f"{fmean(r.window_attainment for r in results):.1%}",
            f"{fmean(run.of_oracle(run.degraded[BUDGETS[0]]) for run in group):.2f}",
            f"{fmean(r.deferred_share for r in results):.1%}",
            _backfilled_share(results),
            f"{expired:,}",
            f"{sum(r.deferred - r.backfilled for r in results) - expired:,}",
        ]
        _row(name, 17, cells)


def compare_graces(traces: Sequence[Trace], latency_s: float, scaled: ScaledObject) -> None:
    """Print demand with a grace period for deferred work, next to the same without."""
    out.print(f"demand at a budget of {BUDGETS[0]:.0%}, without a grace and with one", style="bold")
    _row("", 23, ["cold start, grace", "left out", "made good", "minutes served", "cost, of that without"])
    for trace in traces:
        for cold_start_s in COLD_STARTS_S:
            load = load_of(trace, cold_start_s, latency_s)
            load = msgspec.structs.replace(load, elastic=Elastic(), defer_budget=BUDGETS[0])
            grace_s = max(GRACE_S, cold_start_s + GRACE_AFTER_S)
            with_grace = msgspec.structs.replace(load, backfill_grace_s=grace_s)
            both = [r for each in (load, with_grace) for r in compare(trace, each, scaled, ("demand",))]
            cells = [
                f"{cold_start_s:g} s, {grace_s:g} s",
                ", ".join(f"{r.deferred_share:.1%}" for r in both),
                ", ".join(_backfilled_share([r]) for r in both),
                ", ".join(f"{r.window_attainment:.1%}" for r in both),
                f"{both[1].replica_hours / both[0].replica_hours:.3f}",
            ]
            _row(trace.name, 23, cells)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--latency", type=float, default=LATENCY_TARGET_S)
    parser.add_argument("--hours", type=float, default=MOST_HOURS, help="of each trace, from its start")
    parser.add_argument("--demand", action="store_true", help="demand alone, beside the bound")
    parser.add_argument("--grace", action="store_true", help="demand alone, with a grace for what was left out")
    args = parser.parse_args()
    traces = [read(path) for path in sorted(args.traces.glob("*.csv"))]
    if not traces:
        out.print(f"no traces in {args.traces}: the made-up ones alone")
    scaled = scaled_object("cv", shipped("demand/cv.yaml"))
    runs = []
    all_ = [
        Trace(t.name, t.step_s, t.counts[: max(2, int(args.hours * 3600 / t.step_s))]) for t in (*traces, *generated())
    ]
    if args.grace:
        compare_graces(all_, args.latency, scaled)
        return
    for trace in all_:
        for cold_start_s in COLD_STARTS_S:
            load = load_of(trace, cold_start_s, args.latency)
            began = time.monotonic()
            first = msgspec.structs.replace(load, defer_budget=BUDGETS[0])
            if args.demand:
                results = with_and_without(trace, first, scaled, ("demand", "clairvoyant"))
            else:
                results = with_and_without(trace, first, scaled)
            degraded = {BUDGETS[0]: next(r for r in results if r.name == "demand" + ELASTIC_SUFFIX)}
            for budget in BUDGETS[1:]:
                elastic = msgspec.structs.replace(load, elastic=Elastic(), defer_budget=budget)
                (degraded[budget],) = compare(trace, elastic, scaled, ("demand",))
            out.print("\n" + describe(trace, load), style="bold")
            out.print(table(results))
            for result in results:
                if result.settings:
                    out.print(f"{result.name}: {result.settings}", style="dim")
            out.print(f"{time.monotonic() - began:.0f} s", style="dim")
            runs.append(Run(trace, load, {r.name: r for r in results}, degraded))
    if not args.demand:
        summary(runs)
    frontier(runs)
    by_trace(runs)


if __name__ == "__main__":
    main()
