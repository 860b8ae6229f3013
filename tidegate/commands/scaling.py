"""`tidegate threshold`, `tidegate simulate` and `tidegate explain`: how many replicas, and why."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from services.scaler.keda.threshold import explain as explain_threshold
from services.scaler.keda.threshold import lag_threshold

POLICIES = ("static_peak", "keda_default", "lag_tuned", "kpa", "ray_serve", "demand", "clairvoyant")
# Of a pipe or a file, which has none of its own.
TABLE_WIDTH = 140
BASICS = ("static_peak", "demand", "clairvoyant")


@click.command()
@click.option("--rate", type=float, required=True, help="Segments a second that one busy GPU does.")
@click.option("--latency", type=float, required=True, help="Seconds from a segment's arrival to its event.")
@click.option("--hold", type=int, default=0, help="Segments that a worker holds in its hands; CV_BATCH_SIZE says.")
@click.option("--gpus", type=int, default=1, show_default=True, help="Of one replica: NUM_GPUS.")
@click.option("--cold-start", type=float, default=60.0, show_default=True, help="Seconds until a replica works.")
def threshold(rate: float, latency: float, hold: int, gpus: int, cold_start: float) -> None:
    """Compute the lagThreshold of a ScaledObject, alone and as the safety net of demand.

    \b
    A GPU that does 12 segments a second, answers wanted within 2 s:
        tidegate threshold --rate 12 --latency 2
    """
    click.echo(explain_threshold(lag_threshold(rate, latency, hold=hold, gpus=gpus, cold_start_s=cold_start)))


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
    from services.scaler.simulation.engine import Workload
    from shared.runtime.errors import SettingError
    from tidegate.commands.simulate import Options, run

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
