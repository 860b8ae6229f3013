"""`tidegate up`: run the stack on this machine, with a live view."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tidegate.commands.options import OVER_ZERO, data_option
from tidegate.local.running import default_data, prepare, unusable


@click.command()
@data_option
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    help="Site file to apply at the start, as 'tidegate apply' does. May be repeated.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of the NATS server; 0 for any. Default: 4222 or, where it is taken, a free one that stays the same.",
)
@click.option("--search", is_flag=True, help="Run embed and search, for 'tidegate find'.")
@click.option("--analytics", is_flag=True, help="Run analytics: tracks, zones and incidents, for 'tidegate rules'.")
@click.option("--record", is_flag=True, help="Run the recorder, for 'tidegate clip' and 'tidegate recordings'.")
@click.option("--vlm", is_flag=True, help="Run vlm, for 'tidegate ask'. It needs VLM_URL or VLM_MODEL.")
@click.option(
    "--scaled-object", envvar="SCALED_OBJECT", help="File of the ScaledObject. Default: deploy/keda/demand/cv.yaml."
)
@click.option(
    "--speed", type=OVER_ZERO, default=1.0, show_default=True, help="Speed of the autoscaler's clock; 1 is real time."
)
@click.option("--plain", is_flag=True, help="Print log lines instead of a live view.")
def up(data: Path | None, **options: Any) -> None:
    """Run server, ingest and workers on this machine, until Ctrl-C. The data directory stores their state.

    \b
    Detect:                 tidegate up
    Search and track:       tidegate up --search --analytics
    Record:                 tidegate up --record
    With its cameras:       tidegate up -f site.yaml
    Ask a model:            VLM_URL=http://10.0.0.9:8000/v1 tidegate up --vlm

    In another terminal: tidegate camera add lobby rtsp://user@10.0.0.7/stream1
    """
    import asyncio

    # Independent of the umask: a writer of run.json could make the next command send admin's password anywhere.
    os.umask(os.umask(0o022) | 0o022)
    data_dir = prepare(data or default_data())
    from tidegate.view.up import run

    try:
        asyncio.run(run(data_dir, **options))
    except OSError as e:
        if e.filename and Path(e.filename).is_relative_to(data_dir):
            raise unusable(data_dir, e) from e
        raise
