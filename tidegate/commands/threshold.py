"""`tidegate threshold`: the lagThreshold of a ScaledObject."""

from __future__ import annotations

import click

from tidegate.commands.options import COUNT, COUNT_OR_NONE, RATE, SECONDS, Number
from tidegate.keda.threshold import explain as explain_threshold
from tidegate.keda.threshold import lag_threshold
from tidegate.view.inert import echo


@click.command()
@click.option("--rate", type=RATE, required=True, help="Segments per second of one busy GPU.")
@click.option("--latency", type=SECONDS, required=True, help="Maximum seconds from a segment's arrival to its event.")
@click.option(
    "--hold", "in_flight", type=COUNT_OR_NONE, default=0, help="Segments in flight per worker: CV_BATCH_SIZE."
)
@click.option("--gpus", type=COUNT, default=1, show_default=True, help="GPUs per replica: NUM_GPUS.")
@click.option(
    "--cold-start", type=Number(0, 1e7), default=60.0, show_default=True, help="Seconds until a new replica is ready."
)
@click.option(
    "--kept",
    "retention_s",
    type=SECONDS,
    default=600.0,
    show_default=True,
    help="Retention of MEDIA in seconds: MEDIA_MAX_AGE_S.",
)
def threshold(rate: float, latency: float, in_flight: int, gpus: int, cold_start: float, retention_s: float) -> None:
    """Compute the lagThreshold of a ScaledObject, alone and as the fallback trigger of demand.

    \b
    A GPU with 12 segments per second, a latency target of 2 s:
        tidegate threshold --rate 12 --latency 2
    """
    result = lag_threshold(
        rate, latency, max_in_flight=in_flight, gpus=gpus, cold_start_s=cold_start, retention_s=retention_s
    )
    echo(explain_threshold(result))
