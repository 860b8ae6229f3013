"""`tidegate threshold`: the lagThreshold of a ScaledObject."""

from __future__ import annotations

import click

from services.scaler.keda.threshold import explain as explain_threshold
from services.scaler.keda.threshold import lag_threshold


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
