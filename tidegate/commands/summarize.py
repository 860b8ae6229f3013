"""`tidegate summarize`: what happened on a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.commands.ask import query, run
from tidegate.commands.options import screen, stretch_options, with_admin


@click.command()
@stretch_options
@click.option("--prompt", default="", help="Ask for this, in place of the ordinary summary.")
def summarize(data: Path | None, prompt: str, as_json: bool, **given: Any) -> None:
    """Sum up what happened on a camera, out of its captions or its video, with times.

    \b
    The last hour:          tidegate summarize --camera lobby --since 1h
    A day, with a focus:    tidegate summarize --camera dock --since 1d --prompt "List all deliveries, with times."

    Captions are made with VLM_CAPTION_EVERY_S, or 'tidegate camera add … --caption-every', and kept for a week. Of a
    time that has none the model is shown frames: of MEDIA, which keeps ten minutes by default, and of recordings.
    """
    asked = query("summarize", given, prompt=prompt)
    with_admin(data, lambda client: run(client, asked, screen(), as_json=as_json, save=None))
