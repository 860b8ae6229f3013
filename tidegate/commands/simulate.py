"""`tidegate simulate`: the cost and the service level of each scaling policy on a trace."""

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

from shared.models import measured
from shared.runtime import install
from shared.runtime.errors import SettingError
from tidegate.client.files import written
from tidegate.commands.options import COUNT, COUNT_OR_NONE, NEW_FILE, OVER_ZERO, RATE, SECONDS, Number, data_option
from tidegate.local.running import default_data
from tidegate.local.scaling.scaled_objects import scaled_object, shipped
from tidegate.models import store
from tidegate.simulation.compare import NAMES, compare, with_and_without
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.generate import generated
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace, read
from tidegate.view import policies, records
from tidegate.view.inert import echo
from tidegate.view.screen import TABLE_WIDTH, Screen
from tidegate.view.waiting import telling

BASICS = ("static_peak", "demand", "clairvoyant")
# Fields of the JSON output; other programs rely on these names.
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
    "never_share",
)
# Names in JSON that differ from the attributes.
_ATTRIBUTES = {"left_out": "deferred_share"}


@click.command()
@data_option
@click.option(
    "--trace",
    required=True,
    help="CSV file of t_s,arrivals, or a synthetic trace: days, bursts, flash_crowd, ramp, outage.",
)
@click.option(
    "--service-rate", type=RATE, help="Segments per second of a busy replica. Default: that of the active model."
)
@click.option(
    "--service-cv",
    type=Number(0, 10),
    default=0.2,
    show_default=True,
    help="Coefficient of variation of the work per segment; 0 makes it constant.",
)
@click.option(
    "--cold-start",
    "cold_start_s",
    type=Number(0, 86400),
    default=60.0,
    show_default=True,
    help="Seconds until a new replica is ready.",
)
@click.option(
    "--latency-target",
    "latency_target_s",
    type=SECONDS,
    default=5.0,
    show_default=True,
    help="Maximum seconds from arrival to result.",
)
@click.option(
    "--min",
    "min_replicas",
    type=COUNT_OR_NONE,
    default=0,
    show_default=True,
    help="Minimum number of replicas: minReplicaCount; 0 scales to zero.",
)
@click.option(
    "--max",
    "max_replicas",
    type=COUNT,
    default=100,
    show_default=True,
    help="Maximum number of replicas: maxReplicaCount.",
)
@click.option(
    "--batch",
    type=COUNT,
    default=4,
    show_default=True,
    help="Maximum segments per batch of a replica.",
)
@click.option(
    "--max-age",
    "max_age_s",
    type=SECONDS,
    default=600.0,
    show_default=True,
    help="Seconds until a pending segment expires: MEDIA_MAX_AGE_S.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(NAMES),
    help="Policy to simulate. May be repeated.  [default: static_peak, demand, clairvoyant]",
)
@click.option(
    "--loss-budget",
    type=Number(0, 1),
    help="Share of frames that may never be analysed: lossBudget. Makes work degradable. Default: nothing is deferred.",
)
@click.option(
    "--defer-limit",
    type=Number(0, 1),
    help="Share of frames that may be deferred at first: deferLimit. Makes work degradable. Default: no limit.",
)
@click.option(
    "--compare",
    "every",
    is_flag=True,
    help="Simulate all policies, or those of --policy, with and without graceful degradation.",
)
@click.option("--hours", type=OVER_ZERO, help="Hours to simulate, from the start of the trace. Default: all.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=1,
    show_default=True,
    help="Seed of the random arrival times within a step, and of the work per segment.",
)
@click.option("--scaled-object", help="File of the demand ScaledObject. Default: deploy/keda/demand/cv.yaml.")
@click.option("--cost-per-hour", type=Number(0), help="Price of a replica-hour, to print costs.")
@click.option("--plot", type=NEW_FILE, help="File to draw a plot into: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(data: Path | None, policies: tuple[str, ...], every: bool, **arguments: Any) -> None:
    """Simulate the cost and the service level of each scaling policy on a trace of arrivals.

    \b
    A synthetic site, all policies, with a plot:
        tidegate simulate --trace days --service-rate 2 --compare --plot days.png
    Your own arrivals, at three dollars a GPU-hour:
        tidegate simulate --trace arrivals.csv --service-rate 12 --cold-start 180 --cost-per-hour 3
    """
    if arguments["service_rate"] is None:
        arguments["service_rate"] = _of_active_model(data or default_data())
    fields = {name: arguments.pop(name) for name in Workload.__struct_fields__ if name in arguments}
    fields = {name: value for name, value in fields.items() if value is not None}
    load = Workload(elastic=Elastic() if {"loss_budget", "defer_limit"} & set(fields) else None, **fields)
    if load.min_replicas > load.max_replicas:
        raise SettingError(
            f"--min {load.min_replicas} is over --max {load.max_replicas}: lower the one or raise the other"
        )
    chosen = policies or (NAMES if every else BASICS)
    options = SimulateOptions(load=load, policies=tuple(dict.fromkeys(chosen)), both=every, **arguments)
    out = Screen()
    if not out.is_terminal:
        out.width = TABLE_WIDTH
    run(options, out, Screen(stderr=True))


def _of_active_model(data: Path) -> float:
    """Return the rate of the active model, and print where it is from. Raise SettingError if there is none."""
    model = measured.active(store.folder(data))
    if model is None:
        raise SettingError(
            "--service-rate is missing: give segments a second, or measure a detector by 'tidegate model add' and "
            "'tidegate model use'"
        )
    echo(model.rate_in_words, err=True)
    return model.service_rate


class SimulateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """trace: a CSV file, or the name of a synthetic trace. both: with and without graceful degradation. hours: from the
    start of the trace; None for all.
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
    """Simulate and print the results. Raise SettingError."""
    if options.plot:
        check_plot(options.plot, "--plot")
    trace = load_trace(options.trace, options.hours)
    target = scaled_object("cv", options.scaled_object or shipped("demand/cv.yaml"))
    with telling(status) as tell:
        tell("reading the trace")
        simulate_policies = with_and_without if options.both else compare
        lines = policies.ProgressLines(status, tell)
        results = simulate_policies(trace, options.load, target, options.policies, report=lines.report)
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
    """Check the plot's file before a minute of simulation. Raise SettingError."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SettingError(f"{option} {path} names no format: give a name that ends in .png, .svg or .pdf")
    if not path.parent.is_dir():
        raise SettingError(f"{option} {path} can't be written: there is no folder {path.parent}")
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingError(f"{option} needs matplotlib, which is not installed: {install.command('simulate')}")


def load_trace(name: str, hours: float | None = None) -> Trace:
    """Return a synthetic trace by its name, or read a file. Raise SettingError."""
    synthetic = {t.name: t for t in generated()}
    if name in synthetic:
        trace = synthetic[name]
    elif Path(name).is_file():
        trace = read(Path(name))
    else:
        raise SettingError(f"--trace {name} is neither a file nor one of {', '.join(synthetic)}")
    if hours is None:
        return trace
    counts = trace.counts[: max(2, math.ceil(hours * 3600 / trace.step_s))]
    if not counts.any():
        raise SettingError(f"the first {hours:g} hours of {name} hold no arrivals: raise --hours")
    return Trace(trace.name, trace.step_s, counts)


def _fields(result: Result) -> dict[str, Any]:
    values = {name: getattr(result, _ATTRIBUTES.get(name, name)) for name in FIELDS}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
