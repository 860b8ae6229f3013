"""Policies on traces: what demand costs against the bound, a static fleet and KEDA tuned in hindsight.

    python -m bench.bench_scaling [--traces DIR] [--latency SECONDS] [--quick]

Every CSV file in DIR (columns t_s,arrivals; long ones from their start), and the made-up traces; a replica does a tenth
of the busiest minute, the latency target is ten seconds where nothing else is said, cold starts are 4, 60 and 300 s.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean

import msgspec
from rich.console import Console

from services.scaler.simulation.compare import compare
from services.scaler.simulation.engine import Result, Workload
from services.scaler.simulation.generate import generated
from services.scaler.simulation.trace import Trace, read
from tidegate.local.configuration import scaled_object, shipped
from tidegate.view.policies import describe, table

COLD_STARTS_S = (4.0, 60.0, 300.0)
LATENCY_TARGET_S = 10.0
REPLICAS = 10
MOST_HOURS = 120.0
out = Console(width=150, highlight=False)


class Run(msgspec.Struct, frozen=True):
    """One trace at one cold start."""

    trace: Trace
    load: Workload
    results: dict[str, Result]

    def ratio(self, to: str) -> float:
        return self.results["demand"].replica_hours / self.results[to].replica_hours


def load_of(trace: Trace, cold_start_s: float, latency_target_s: float) -> Workload:
    """A replica that does a tenth of the busiest minute, and room for four times as many."""
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
    """Means over all runs beside the targets, and over each cold start and trace."""
    out.print("\nmeans for demand", style="bold")
    out.print(
        f"{'':24} {'minutes served':>15} {'of bound':>10} {'of static':>10} {'of tuned KEDA':>14} "
        f"{'of tuned utilisation':>21}   runs"
    )
    groups = _groups(runs)
    for name, group in groups:
        # Against a fleet for the peak where there is something to save; against KEDA where it serves no more.
        variable = [r for r in group if r.trace.mean_rate < 0.4 * r.trace.peak_rate]
        static = f"{fmean(r.ratio('static_peak') for r in variable):10.2f}" if variable else f"{'':10}"
        out.print(
            f"{name:24} {_served(group, 'demand'):15.1%} {fmean(r.ratio('clairvoyant') for r in group):10.2f} {static} "
            f"{fmean(r.ratio('lag_tuned') for r in group):14.2f} "
            f"{fmean(r.ratio('utilisation_tuned') for r in group):21.2f}   {len(group)}"
        )
    out.print(f"{'target':24} {'>= 96.0%':>15} {'<= 1.25':>10} {'<= 0.50':>10} {'<= 0.75':>14}")
    for tuned in ("lag_tuned", "utilisation_tuned"):
        reached = [r for r in runs if r.results[tuned].window_attainment >= r.results["demand"].window_attainment]
        out.print(
            f"{tuned} serves as many minutes as demand in {len(reached)} of {len(runs)} runs, and no setting else"
        )
    out.print("\nminutes served, and cost of the bound", style="bold")
    names = ("keda_default", "lag_tuned", "utilisation", "utilisation_tuned", "demand")
    out.print(f"{'':24} " + " ".join(f"{name:>18}" for name in names))
    for name, group in groups:
        cells = (f"{_served(group, p):.1%} at {_of_bound(group, p):.2f}" for p in names)
        out.print(f"{name:24} " + " ".join(f"{cell:>18}" for cell in cells))


def _groups(runs: list[Run]) -> list[tuple[str, list[Run]]]:
    """All runs, and those of each cold start and of each trace."""
    groups = [("all", runs)]
    groups += [(f"cold start {s:g} s", [r for r in runs if r.load.cold_start_s == s]) for s in COLD_STARTS_S]
    groups += [(name, [r for r in runs if r.trace.name == name]) for name in dict.fromkeys(r.trace.name for r in runs)]
    return [(name, group) for name, group in groups if group]


def _served(runs: list[Run], policy: str) -> float:
    return fmean(r.results[policy].window_attainment for r in runs)


def _of_bound(runs: list[Run], policy: str) -> float:
    return fmean(r.results[policy].replica_hours / r.results["clairvoyant"].replica_hours for r in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--latency", type=float, default=LATENCY_TARGET_S)
    parser.add_argument("--quick", action="store_true", help="the first six hours of each")
    args = parser.parse_args()
    traces = [read(path) for path in sorted(args.traces.glob("*.csv"))]
    if not traces:
        out.print(f"no traces in {args.traces}: the made-up ones alone")
    scaled = scaled_object("cv", shipped("demand/cv.yaml"))
    hours = 6.0 if args.quick else MOST_HOURS
    runs = []
    for whole in traces + generated():
        trace = Trace(whole.name, whole.step_s, whole.counts[: max(2, int(hours * 3600 / whole.step_s))])
        for cold_start_s in COLD_STARTS_S:
            load = load_of(trace, cold_start_s, args.latency)
            began = time.monotonic()
            results = compare(trace, load, scaled)
            out.print("\n" + describe(trace, load), style="bold")
            out.print(table(results))
            for result in results:
                if result.settings:
                    out.print(f"{result.name}: {result.settings}", style="dim")
            out.print(f"{time.monotonic() - began:.0f} s", style="dim")
            runs.append(Run(trace, load, {r.name: r for r in results}))
    summary(runs)


if __name__ == "__main__":
    main()
