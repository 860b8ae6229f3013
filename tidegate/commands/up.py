"""`tidegate up`: the stack on this machine, and its live view."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from tidegate.commands.options import data_option
from tidegate.local.running import default_data
from tidegate.local.stack import DEFAULT_PORT


@click.command()
@data_option
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Of the NATS server; another if taken.")
@click.option("--search", is_flag=True, help="Embed too, and answer 'tidegate find'.")
@click.option("--analytics", is_flag=True, help="Tracks, zones and incidents: see 'tidegate rules'.")
@click.option("--vlm", is_flag=True, help="A vision language model, by VLM_URL or VLM_MODEL: 'tidegate ask'.")
@click.option("--scaled-object", envvar="SCALED_OBJECT", help="A KEDA ScaledObject. Default: deploy/keda/cv.yaml.")
@click.option("--speed", default=1.0, show_default=True, help="The autoscaler's clock over the real one.")
@click.option("--plain", is_flag=True, help="No live view: log lines alone.")
def up(data: Path | None, **options: Any) -> None:
    """Run server, ingest and workers here, until Ctrl-C. State stays in the data directory."""
    from tidegate.view.up import run

    asyncio.run(run(data or default_data(), **options))
