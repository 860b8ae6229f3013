"""`tidegate simulate`: what each scaling policy would have cost on a trace, and what it would have missed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from services.scaler.simulation.compare import compare
from services.scaler.simulation.engine import Result, Workload
from services.scaler.simulation.generate import generated
from services.scaler.simulation.trace import Trace, read
from shared.runtime.errors import SettingError
from tidegate.local.configuration import scaled_object, shipped
from tidegate.view.policies import describe, table

POLICIES = ("static_peak", "keda_default", "lag_tuned", "kpa", "ray_serve", "demand", "clairvoyant")
# Of a pipe or a file, which has none of its own.
TABLE_WIDTH = 140
BASICS = ("static_peak", "demand", "clairvoyant")
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


@click.command()
@click.option("--trace", required=True, help="A CSV file of t_s,arrivals; or days, bursts, flash_crowd, ramp, outage.")
@click.option(
    "--service-rate",
    type=click.FloatRange(0, min_open=True),
    required=True,
    help="Segments a second of one busy replica.",
)
@click.option(
    "--service-cv",
    type=click.FloatRange(0, 10),
    default=0.2,
    show_default=True,
    help="Coefficient of variation of a segment's work.",
)
@click.option(
    "--cold-start",
    type=click.FloatRange(0, 86400),
    default=60.0,
    show_default=True,
    help="Seconds until a replica works.",
)
@click.option(
    "--latency-target",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds from arrival to result.",
)
@click.option("--min", "least", type=click.IntRange(0), default=0, show_default=True, help="minReplicaCount.")
@click.option("--max", "most", type=click.IntRange(1), default=100, show_default=True, help="maxReplicaCount.")
@click.option(
    "--batch", type=click.IntRange(1), default=4, show_default=True, help="Most segments that a replica takes at once."
)
@click.option(
    "--max-age",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds until a waiting segment is lost.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(POLICIES),
    help="One or more.  [default: static_peak, demand, clairvoyant]",
)
@click.option("--compare", "every", is_flag=True, help="All policies.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="The first hours of the trace alone.")
@click.option("--seed", default=1, show_default=True, help="Of the instants within a step, and of the work.")
@click.option("--scaled-object", help="A ScaledObject by demand. Default: deploy/keda/demand/cv.yaml.")
@click.option("--cost-per-hour", type=float, help="Of a replica: prints money.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw it, as .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def simulate(trace: str, policies: tuple[str, ...], every: bool, least: int, most: int, **given: object) -> None:
    """What each scaling policy costs on a trace of arrivals, and what it misses.

    \b
    A made-up site, as all policies would scale it, with a picture:
        tidegate simulate --trace days --service-rate 2 --compare --plot days.png
    Your own arrivals, at three dollars a GPU-hour:
        tidegate simulate --trace arrivals.csv --service-rate 12 --cold-start 180 --cost-per-hour 3
    """
    if least > most:
        raise SettingError(f"--min {least} is over --max {most}: lower the one or raise the other")
    load = Workload(
        min_replicas=least,
        max_replicas=most,
        service_rate=given.pop("service_rate"),  # type: ignore[arg-type]
        service_cv=given.pop("service_cv"),  # type: ignore[arg-type]
        cold_start_s=given.pop("cold_start"),  # type: ignore[arg-type]
        latency_target_s=given.pop("latency_target"),  # type: ignore[arg-type]
        batch=given.pop("batch"),  # type: ignore[arg-type]
        max_age_s=given.pop("max_age"),  # type: ignore[arg-type]
        seed=given.pop("seed"),  # type: ignore[arg-type]
    )
    chosen = POLICIES if every else policies or BASICS
    options = Options(trace=trace, load=load, policies=tuple(dict.fromkeys(chosen)), **given)  # type: ignore[arg-type]
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = TABLE_WIDTH
    run(options, out, Console(stderr=True, highlight=False))


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """trace: a CSV file, or the name of a made-up trace. hours: of it, from its start; None is all."""

    trace: str
    load: Workload
    policies: Sequence[str]
    hours: float | None = None
    scaled_object: str | None = None
    cost_per_hour: float | None = None
    as_json: bool = False
    plot: Path | None = None


def run(options: Options, out: Console, status: Console) -> None:
    """Simulate and print. Raises SettingError."""
    trace = find(options.trace, options.hours)
    scaled = scaled_object("cv", options.scaled_object or shipped("demand/cv.yaml"))
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


def _fields(result: Result) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in FIELDS}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
