"""`tidegate demo`: the whole of it for real, in a minute and a half."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tidegate.commands.options import FILE, FOLDER


@click.command()
@click.option("--video", multiple=True, type=FILE, help="Show this file as a camera; may be repeated.")
@click.option("--rtsp", multiple=True, help="Use the camera at this URL; may be repeated. -: read it.")
@click.option("--output", default="demo-output", show_default=True, type=FOLDER, help="Put the report there.")
@click.option("--seconds", type=int, default=90, show_default=True, help="Let the story take this long.")
@click.option("--keep", is_flag=True, help="Keep the data directory, with its logs.")
def demo(video: tuple[Path, ...], rtsp: tuple[str, ...], output: Path, seconds: int, keep: bool) -> None:
    """Show cameras, a surge, and workers that follow it: the whole of it for real, in a minute and a half.

    \b
    As it comes:            tidegate demo
    On your own video:      tidegate demo --video street.mp4
    With your own camera:   tidegate demo --rtsp rtsp://user@10.0.0.7/stream1

    It leaves pictures, a clip and the counts of a report in demo-output/, and exits with 0 if nothing was lost.
    """
    from tidegate.commands import passwords
    from tidegate.demo.demo import DemoOptions, run

    for url in rtsp:
        passwords.warn(url)
    urls = tuple(passwords.joined(passwords.address(url), passwords.NONE) for url in rtsp)
    sys.exit(run(DemoOptions(video=video, rtsp=urls, output=output, seconds=seconds, keep=keep)))
