"""`tidegate find`: moments by words, by a picture, by what is like one found before, or by labels."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from services.search.query import MAX_K, Query
from shared.contract import names
from tidegate.commands.options import data_option, screen, with_admin


@click.command()
@data_option
@click.argument("text", required=False)
@click.option(
    "--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What looks like this file."
)
@click.option("--like", metavar="ID", help="What looks like a moment found before.")
@click.option("--camera", "cameras", multiple=True, help="On this camera alone; may be repeated.")
@click.option("--since", metavar="TIME", help="90s, 15m, 1h30m or 2d ago; 13:05 today; or 2026-11-24T13:05:00Z.")
@click.option("--until", metavar="TIME", help="The same.")
@click.option("--label", "labels", multiple=True, help="Where cv saw this too, such as person; may be repeated.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Of the similarity, or of a label's score.")
@click.option("-k", type=click.IntRange(1, MAX_K), default=10, show_default=True, help="Moments, at most.")
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), help="Put video and pictures in this folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def find(data: Path | None, text: str | None, save: Path | None, as_json: bool, **given: Any) -> None:
    """Find moments by TEXT, by a picture, by what is like one found before, or by labels.

    \b
    In words:               tidegate find "a man on a bicycle" --camera street --since 1h
    Seen by the detector:   tidegate find --label truck --since 13:05 --min-score 0.7
    More of the same:       tidegate find --like ID
    Keep the evidence:      tidegate find "a red car" --save clips/

    Video is there for as long as MEDIA keeps it, ten minutes by default; what was seen, for a week.
    """
    from tidegate.client import find as finding

    now = dt.datetime.now().astimezone()
    query = Query(
        text=text,
        image=finding.image(given["image"]) if given["image"] else None,
        like=given["like"],
        cameras=[names.check_camera(camera) for camera in given["cameras"]],
        since=finding.instant("--since", given["since"], now) if given["since"] else None,
        until=finding.instant("--until", given["until"], now) if given["until"] else None,
        labels=list(given["labels"]),
        min_score=given["min_score"],
        k=given["k"],
        picture=save is not None,
    ).check()
    with_admin(data, lambda client: finding.run(client, query, screen(), as_json=as_json, save=save))
