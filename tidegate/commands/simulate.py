"""`tidegate simulate`: what each scaling policy would have cost on a trace, and what it would have missed."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from shared.runtime.errors import SettingError
from tidegate.client.files import written
from tidegate.commands.options import COUNT, COUNT_OR_NONE, NEW_FILE, OVER_ZERO, RATE, SECONDS, Number
from tidegate.local.configuration import scaled_object, shipped
from tidegate.simulation.compare import NAMES, compare, with_and_without
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.generate import generated
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace, read
from tidegate.view import policies, records
from tidegate.view.screen import Screen
from tidegate.view.waiting import telling

# Of a pipe or a file, which has none of its own.
TABLE_WIDTH = 160
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
    "left_out",
    "deferred",
    "backfilled",
    "expired",
)
# Names in JSON that differ from the attributes.
_ATTRIBUTES = {"left_out": "deferred_share"}


@click.command()
@click.option("--trace", required=True, help="A CSV file of t_s,arrivals; or days, bursts, flash_crowd, ramp, outage.")
@click.option("--service-rate", type=RATE, required=True, help="Segments that a busy replica does in a second.")
@click.option(
    "--service-cv",
    type=Number(0, 10),
    default=0.2,
    show_default=True,
    help="Coefficient of variation of a segment's work.",
)
@click.option(
    "--cold-start", type=Number(0, 86400), default=60.0, show_default=True, help="Seconds until a replica works."
)
@click.option("--latency-target", type=SECONDS, default=5.0, show_default=True, help="Seconds from arrival to result.")
@click.option("--min", "least", type=COUNT_OR_NONE, default=0, show_default=True, help="minReplicaCount.")
@click.option("--max", "most", type=COUNT, default=100, show_default=True, help="maxReplicaCount.")
@click.option(
    "--batch",
    type=COUNT,
    default=4,
    show_default=True,
    help="Most segments that a replica takes at once.",
)
@click.option(
    "--max-age", type=SECONDS, default=600.0, show_default=True, help="Seconds until a waiting segment is lost."
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(NAMES),
    help="Simulate this policy; may be repeated.  [default: static_peak, demand, clairvoyant]",
)
@click.option(
    "--defer-budget",
    type=Number(0, 1),
    help="Work bends, and demand plans with this share of frames left out at first: deferBudget.",
)
@click.option(
    "--backfill-grace",
    type=SECONDS,
    help="With --defer-budget: what was left out calls for replicas in its last seconds: backfillGrace.",
)
@click.option(
    "--compare",
    "every",
    is_flag=True,
    help="Simulate all policies, or those named, with work that bends and without.",
)
@click.option("--hours", type=OVER_ZERO, help="Simulate the first hours of the trace alone.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=1,
    show_default=True,
    help="Draw the instants within a step, and the work of segments, from this seed.",
)
@click.option("--scaled-object", help="Scale as this ScaledObject by demand says. Default: deploy/keda/demand/cv.yaml.")
@click.option("--cost-per-hour", type=Number(0), help="Print what replicas at this price cost.")
@click.option("--plot", type=NEW_FILE, help="Draw it into this file, a .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(trace: str, policies: tuple[str, ...], every: bool, least: int, most: int, **given: Any) -> None:
    """Simulate what each scaling policy costs on a trace of arrivals, and what it misses.

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
        service_rate=given.pop("service_rate"),
        service_cv=given.pop("service_cv"),
        cold_start_s=given.pop("cold_start"),
        latency_target_s=given.pop("latency_target"),
        batch=given.pop("batch"),
        max_age_s=given.pop("max_age"),
        seed=given.pop("seed"),
        elastic=None if given["defer_budget"] is None else Elastic(),
    )
    if (budget := given.pop("defer_budget")) is not None:
        load = msgspec.structs.replace(load, defer_budget=budget)
    if (grace := given.pop("backfill_grace")) is not None:
        if load.elastic is None or not load.cold_start_s < grace < load.max_age_s:
            raise SettingError(
                f"--backfill-grace {grace:g} can't be used: give --defer-budget too, and a grace over --cold-start and "
                "under --max-age"
            )
        load = msgspec.structs.replace(load, backfill_grace_s=grace)
    chosen = policies or (NAMES if every else BASICS)
    options = SimulateOptions(trace=trace, load=load, policies=tuple(dict.fromkeys(chosen)), both=every, **given)
    out = Screen()
    if not out.is_terminal:
        out.width = TABLE_WIDTH
    run(options, out, Screen(stderr=True))


class SimulateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """trace: a CSV file, or the name of a made-up trace. both: with work that bends and without. hours: of the trace,
    from its start; None is all.
    """

    trace: str
    load: Workload
    policies: Sequence[str]
    both: bool = False
    hours: float | None = None
    scaled_object: str | None = None
    cost_per_hour: float | None = None
    as_json: bool = False
    plot: Path | None = None


def run(options: SimulateOptions, out: Console, status: Console) -> None:
    """Simulate and print. Raises SettingError."""
    if options.plot:
        check_plot(options.plot, "--plot")
    trace = find(options.trace, options.hours)
    scaled = scaled_object("cv", options.scaled_object or shipped("demand/cv.yaml"))
    with telling(status) as tell:
        tell("reading the trace")
        simulated = with_and_without if options.both else compare
        results = simulated(trace, options.load, scaled, options.policies, tell=lambda name: tell(f"simulating {name}"))
    if options.as_json:
        out.print_json(json.dumps({"policies": {r.name: _fields(r) for r in results}}))
    else:
        out.print(policies.describe(trace, options.load), style="dim", soft_wrap=True)
        if out.is_terminal:
            cells = policies.rows(results, options.cost_per_hour)
            records.show(out, policies.fields(results, options.cost_per_hour), cells, "no policy")
        else:
            out.print(policies.table(results, options.cost_per_hour))
        for result in results:
            if result.settings:
                out.print(f"{result.name}: {result.settings}", style="dim")
    if options.plot:
        from tidegate.drawing.simulation import draw

        with written(options.plot, "--plot") as part:
            draw(part, trace, options.load, results)
        status.print(f"plot in {options.plot}")


def check_plot(path: Path, option: str) -> None:
    """What would fail after a minute of simulation fails before it. Raises SettingError."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SettingError(f"{option} {path} names no format: give a name that ends in .png, .svg or .pdf")
    if not path.parent.is_dir():
        raise SettingError(f"{option} {path} can't be written: there is no folder {path.parent}")
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingError(f"{option} needs matplotlib, which is not installed: pip install 'tidegate[simulate]'")


def find(name: str, hours: float | None = None) -> Trace:
    """A made-up trace by its name, or a file. Raises SettingError."""
    made_up = {t.name: t for t in generated()}
    if name in made_up:
        trace = made_up[name]
    elif Path(name).is_file():
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
    values = {name: getattr(result, _ATTRIBUTES.get(name, name)) for name in FIELDS}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
