"""`tidegate tracks`: what analytics followed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from shared.contract import names
from tidegate.commands.options import data_option, screen, with_admin


@click.command()
@data_option
@click.argument("camera")
@click.option("--since", metavar="TIME", help="90s, 15m, 1h30m or 2d ago; 13:05 today; or a full time. Default: 30s.")
@click.option("--until", metavar="TIME", help="The same. Default: now.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Video with tracks, zones and lines.")
@click.option("--mot", type=click.Path(dir_okay=False, path_type=Path), help="Boxes as in MOTChallenge.")
@click.option("--fps", type=click.FloatRange(0, 120, min_open=True), default=10.0, show_default=True, help="Of --mot.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a track.")
def tracks(data: Path | None, camera: str, as_json: bool, **given: Any) -> None:
    """Show what analytics followed on CAMERA, or save it as a video.

    \b
    The last half minute:   tidegate tracks lobby
    To look at:             tidegate tracks lobby --since 1m --save lobby.mp4
    To be scored:           tidegate tracks lobby --since 13:05 --until 13:10 --mot lobby.txt --fps 5

    Video is there for as long as MEDIA keeps it, ten minutes by default; tracks, for a week.
    """
    from tidegate.client import tracks as following
    from tidegate.client.find import instant

    now = dt.datetime.now().astimezone()
    stretch = following.Stretch(
        camera=names.check_camera(camera),
        since=instant("--since", given["since"] or "30s", now),
        until=instant("--until", given["until"], now) if given["until"] else now,
    )
    save = following.Save(video=given["save"], mot=given["mot"], fps=given["fps"])
    with_admin(data, lambda client: following.run(client, stretch, screen(), as_json=as_json, save=save))
