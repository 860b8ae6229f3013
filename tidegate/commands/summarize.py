"""`tidegate summarize`: a summary of what happened on a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.commands.ask import query, run
from tidegate.commands.options import screen, stretch_options, with_admin


@click.command()
@stretch_options
@click.option("--prompt", default="", help="Prompt for the model, instead of the default one.")
def summarize(data: Path | None, prompt: str, as_json: bool, **options: Any) -> None:
    """Summarize what happened on a camera, from its captions or its video, with times.

    \b
    The last hour:          tidegate summarize --camera lobby --since 1h
    A day, with a focus:    tidegate summarize --camera dock --since 1d --prompt "List all deliveries, with times."

    VLM_CAPTION_EVERY_S or 'tidegate camera add … --caption-every' enable captions, which are stored for a week. If a
    time range has no captions, the model gets frames: from MEDIA, which stores ten minutes by default, and recordings.
    """
    request = query("summarize", options, prompt=prompt)
    with_admin(data, lambda client: run(client, request, screen(), as_json=as_json, save=None, data=data))
