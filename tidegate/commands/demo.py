"""`tidegate demo`: the whole product on this machine, in a minute and a half."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tidegate.commands.options import FILE, FOLDER


@click.command()
@click.option("--video", multiple=True, type=FILE, help="File to play as a camera. May be repeated.")
@click.option("--rtsp", multiple=True, help="URL of a camera; - reads it from standard input. May be repeated.")
@click.option("--output", default="demo-output", show_default=True, type=FOLDER, help="Folder for the report.")
@click.option("--seconds", type=int, default=90, show_default=True, help="Approximate length in seconds.")
@click.option("--keep", is_flag=True, help="Keep the data directory, with its logs.")
def demo(video: tuple[Path, ...], rtsp: tuple[str, ...], output: Path, seconds: int, keep: bool) -> None:
    """Run real cameras, a surge, and autoscaled workers on this machine, in a minute and a half.

    \b
    With its own footage:   tidegate demo
    With your own video:    tidegate demo --video street.mp4
    With your own camera:   tidegate demo --rtsp rtsp://user@10.0.0.7/stream1

    It writes pictures, a clip and a report to demo-output/. Exit code 0 means that nothing was lost.
    """
    from tidegate.commands import passwords
    from tidegate.demo.demo import DemoOptions, run

    for url in rtsp:
        passwords.warn(url)
    urls = tuple(passwords.url_with_password(passwords.address(url), passwords.NONE) for url in rtsp)
    sys.exit(run(DemoOptions(video=video, rtsp=urls, output=output, seconds=seconds, keep=keep)))
