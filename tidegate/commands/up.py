"""`tidegate up`: the stack on this machine, and its live view."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tidegate.commands.options import OVER_ZERO, data_option
from tidegate.local.running import default_data, prepare, unusable

PORT = 4222


@click.command()
@data_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Let the NATS server take this port; another if it is taken.",
)
@click.option("--search", is_flag=True, help="Embed too, and answer 'tidegate find'.")
@click.option("--analytics", is_flag=True, help="Follow objects, and tell of zones and incidents: 'tidegate rules'.")
@click.option("--record", is_flag=True, help="Record the cameras: 'tidegate clip', 'tidegate recordings'.")
@click.option("--vlm", is_flag=True, help="Answer 'tidegate ask' by a vision language model: VLM_URL or VLM_MODEL.")
@click.option(
    "--scaled-object", envvar="SCALED_OBJECT", help="Scale as this file says. Default: deploy/keda/demand/cv.yaml."
)
@click.option("--speed", type=OVER_ZERO, default=1.0, show_default=True, help="Run the autoscaler's clock this fast.")
@click.option("--plain", is_flag=True, help="Print log lines, and no live view.")
def up(data: Path | None, **options: Any) -> None:
    """Run server, ingest and workers here, until Ctrl-C. State stays in the data directory.

    \b
    Detect:                 tidegate up
    And find, and follow:   tidegate up --search --analytics
    And keep the video:     tidegate up --record
    And ask:                VLM_URL=http://10.0.0.9:8000/v1 tidegate up --vlm

    In another terminal: tidegate camera add lobby rtsp://user@10.0.0.7/stream1
    """
    import asyncio

    # Whatever the umask: who writes run.json has the next command send admin's password where they like.
    os.umask(os.umask(0o022) | 0o022)
    folder = prepare(data or default_data())
    from tidegate.view.up import run

    try:
        asyncio.run(run(folder, **options))
    except OSError as e:
        if e.filename and Path(e.filename).is_relative_to(folder):
            raise unusable(folder, e) from e
        raise
