"""`tidegate threshold`: the lagThreshold of a ScaledObject."""

from __future__ import annotations

import click

from tidegate.commands.options import COUNT, COUNT_OR_NONE, RATE, SECONDS, Number
from tidegate.keda.threshold import explain as explain_threshold
from tidegate.keda.threshold import lag_threshold
from tidegate.view.inert import echo


@click.command()
@click.option("--rate", type=RATE, required=True, help="Segments that one busy GPU does in a second.")
@click.option("--latency", type=SECONDS, required=True, help="Seconds from a segment's arrival to its event.")
@click.option("--hold", type=COUNT_OR_NONE, default=0, help="Segments that a worker holds: CV_BATCH_SIZE.")
@click.option("--gpus", type=COUNT, default=1, show_default=True, help="GPUs of a replica: NUM_GPUS.")
@click.option(
    "--cold-start", type=Number(0, 1e7), default=60.0, show_default=True, help="Seconds until a replica works."
)
@click.option(
    "--kept", type=SECONDS, default=600.0, show_default=True, help="Seconds of video in MEDIA: MEDIA_MAX_AGE_S."
)
def threshold(rate: float, latency: float, hold: int, gpus: int, cold_start: float, kept: float) -> None:
    """Compute the lagThreshold of a ScaledObject, alone and as the safety net of demand.

    \b
    A GPU that does 12 segments a second, answers wanted within 2 s:
        tidegate threshold --rate 12 --latency 2
    """
    found = lag_threshold(rate, latency, max_in_flight=hold, gpus=gpus, cold_start_s=cold_start, retention_s=kept)
    echo(explain_threshold(found))
