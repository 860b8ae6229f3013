"""`tidegate demo`: the whole of it for real, in a minute and a half."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option("--video", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your file.")
@click.option("--rtsp", multiple=True, help="Your camera's URL.")
@click.option("--output", default="demo-output", show_default=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--seconds", default=90, show_default=True, help="How long the story takes.")
@click.option("--keep", is_flag=True, help="Keep the data directory.")
def demo(video: tuple[Path, ...], rtsp: tuple[str, ...], output: Path, seconds: int, keep: bool) -> None:
    """Cameras, a surge, and workers that follow it: the whole of it for real, in a minute and a half."""
    from tidegate.demo.demo import Options, run

    sys.exit(run(Options(video=video, rtsp=rtsp, output=output, seconds=seconds, keep=keep)))
