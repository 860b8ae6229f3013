"""`tidegate simulate`: what each scaling policy would have cost on a trace, and what it would have missed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from services.scaler.simulation.compare import compare
from services.scaler.simulation.engine import Load, Result
from services.scaler.simulation.generate import generated
from services.scaler.simulation.trace import Trace, read
from shared.runtime.errors import SettingError
from tidegate.local.configuration import ROOT, scaled_object

# What is printed as JSON; other programs rely on these names.
FIELDS = (
    "replica_hours",
    "attainment",
    "window_attainment",
    "p50_s",
    "p99_s",
    "lost",
    "cold_starts",
    "reversals_per_hour",
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """trace: a CSV file, or the name of a made-up trace. hours: of it, from its start; None is all."""

    trace: str
    load: Load
    policies: Sequence[str]
    hours: float | None = None
    scaled_object: str | None = None
    cost_per_hour: float | None = None
    as_json: bool = False
    plot: Path | None = None


def run(options: Options, out: Console, status: Console) -> None:
    """Simulate and print. Raises SettingError."""
    trace = find(options.trace, options.hours)
    default = ROOT / "deploy" / "keda" / "demand" / "cv.yaml"
    scaled = scaled_object("cv", options.scaled_object or str(default))
    with status.status("reading the trace") as line:
        results = compare(
            trace, options.load, scaled, options.policies, tell=lambda name: line.update(f"simulating {name}")
        )
    if options.as_json:
        out.print_json(json.dumps({"policies": {r.name: _fields(r) for r in results}}))
    else:
        out.print(describe(trace, options.load), style="dim")
        out.print(table(results, options.cost_per_hour))
        for result in results:
            if result.settings:
                out.print(f"{result.name}: {result.settings}", style="dim")
    if options.plot:
        from tidegate.drawing.simulation import draw

        draw(options.plot, trace, options.load, results)
        status.print(f"plot in {options.plot}")


def find(name: str, hours: float | None = None) -> Trace:
    """A made-up trace by its name, or a file. Raises SettingError."""
    made_up = {t.name: t for t in generated()}
    if name in made_up:
        trace = made_up[name]
    elif Path(name).exists():
        trace = read(Path(name))
    else:
        raise SettingError(f"--trace {name} is neither a file nor one of {', '.join(made_up)}")
    if hours is None:
        return trace
    counts = trace.counts[: max(2, math.ceil(hours * 3600 / trace.step_s))]
    if not counts.any():
        raise SettingError(f"the first {hours:g} hours of {name} hold no arrivals: raise --hours")
    return Trace(trace.name, trace.step_s, counts)


def describe(trace: Trace, load: Load) -> str:
    """A line on what was simulated."""
    return (
        f"{trace.name}: {trace.total:,} segments in {trace.duration_s / 3600:.1f} h, {trace.mean_rate:.2f} a second in "
        f"the mean and {trace.peak_rate:.1f} in the busiest {trace.step_s:g} s; a replica does {load.service_rate:g} a "
        f"second after a cold start of {load.cold_start_s:g} s; target {load.latency_target_s:g} s"
    )


def table(results: Sequence[Result], cost_per_hour: float | None = None) -> Table:
    """A row for each policy; its cost against the static fleet and against the bound, where these are there."""
    hours = {r.name: r.replica_hours for r in results}
    t = Table(box=None, pad_edge=False)
    t.add_column("policy")
    columns = ["replica-hours", "of static", "of bound", "in time", "minutes served", "p50", "p99", "lost", "starts"]
    columns += ["reversals/h"] + (["cost"] if cost_per_hour is not None else [])
    for column in columns:
        t.add_column(column, justify="right")
    for r in results:
        cells = [
            f"{r.replica_hours:,.2f}",
            _ratio(r, hours.get("static_peak")),
            _ratio(r, hours.get("clairvoyant")),
            f"{r.attainment:.2%}",
            f"{r.window_attainment:.1%}",
            f"{r.p50_s:.2f} s",
            f"{r.p99_s:.1f} s",
            f"{r.lost:,}",
            f"{r.cold_starts:,}",
            f"{r.reversals_per_hour:.1f}",
        ]
        if cost_per_hour is not None:
            cells.append(f"{r.replica_hours * cost_per_hour:,.2f}")
        t.add_row(r.name, *cells, style="bold" if r.name == "demand" else None)
    return t


def _ratio(result: Result, of: float | None) -> str:
    return f"{result.replica_hours / of:.2f}x" if of else ""


def _fields(result: Result) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in FIELDS}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
