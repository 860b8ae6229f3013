"""`tidegate find`: search for moments by text, image, similar moment or label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import click
import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.text import Text

from shared.client import find as find_client
from shared.client import registry
from shared.contract import names
from shared.contract.questions.search import MAX_K, Moment, Query
from shared.runtime.errors import SettingError
from tidegate.client import clips
from tidegate.client.times import instant, now_here
from tidegate.commands.options import FILE, FOLDER, TIME, Number, data_option, screen, with_admin
from tidegate.view.inert import echo
from tidegate.view.moments import remarks, search_summary, show
from tidegate.view.waiting import waited_for

# The model scales a query's image to a few hundred pixels, so a larger file adds nothing.
MOST_IMAGE_BYTES = 2 * 2**20
_IMAGE_WIDTH = 1280


@click.command()
@data_option
@click.argument("text", required=False)
@click.option("--image", type=FILE, help="Image file; find similar moments.")
@click.option("--like", metavar="ID", help="ID of a moment from an earlier search; find similar moments.")
@click.option("--camera", "cameras", multiple=True, help="Camera to search. May be repeated. Default: all.")
@click.option("--since", metavar="TIME", help=f"Start of the time range: {TIME}.")
@click.option("--until", metavar="TIME", help="End of the time range, in the same formats.")
@click.option(
    "--label", "labels", multiple=True, help="Label that cv must have detected, such as person. May be repeated."
)
@click.option("--run", "of_run", metavar="RUN", help="Run of 'tidegate reanalyze --events' whose moments to search.")
@click.option("--min-score", type=Number(0, 1), help="Minimum similarity, or minimum score of a label, 0 to 1.")
@click.option("-k", type=click.IntRange(1, MAX_K), default=10, show_default=True, help="Maximum number of moments.")
@click.option("--save", type=FOLDER, help="Folder to save video and pictures in.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def find(data: Path | None, text: str | None, save: Path | None, as_json: bool, **options: Any) -> None:
    """Find moments by TEXT, by an image, by a similar moment, or by labels.

    \b
    By text:                tidegate find "a man on a bicycle" --camera street --since 1h
    By label:               tidegate find --label truck --since 13:05 --min-score 0.7
    Similar moments:        tidegate find --like ID
    Save the video:         tidegate find "a red car" --save clips/
    In a pipe:              tidegate find "a red car" | cut -f8

    The command needs 'tidegate up --search'. By default MEDIA stores video for ten minutes, and the index stores
    moments for a week.
    """
    now = now_here()
    query = Query(
        text=(text or "").strip() or None,
        image=picture(options["image"]) if options["image"] else None,
        like=(options["like"] or "").strip() or None,
        cameras=[names.check_camera(camera) for camera in options["cameras"]],
        since=instant("--since", options["since"], now) if options["since"] is not None else None,
        until=instant("--until", options["until"], now) if options["until"] is not None else None,
        labels=[label for label in options["labels"] if label.strip()],
        run=names.check_token(options["of_run"], "run") if options["of_run"] else None,
        min_score=options["min_score"],
        k=options["k"],
        picture=save is not None,
    ).check()
    with_admin(data, lambda client: run(client, query, screen(), as_json=as_json, save=save))


async def run(client: Client, query: Query, out: Console, *, as_json: bool, save: Path | None) -> None:
    """Search, print the moments, and save their video and pictures in `save`. Raise TidegateError."""
    found = await waited_for(find_client.ask(client, query), "searching")
    print_line: Callable[[str], None] = (lambda line: echo(line, err=True)) if as_json else _printer(out)
    if not as_json and found.moments:
        show(out, found.moments)
    if not found.moments:
        print_line(f"nothing found: {search_summary(query)}")
    for line in remarks(found, query):
        print_line(line)
    for camera in query.cameras if not found.moments else ():
        if sentence := await registry.missing(client.jetstream(), camera):
            print_line(sentence)
    for n, moment in enumerate(found.moments, 1):
        stem = save / f"{n:02}-{moment.camera}-{moment.start.astimezone():%Y%m%dT%H%M%S}" if save else None
        saved: list[Path] = []
        if stem:
            saved = await waited_for(clips.keep(client, stem, moment, print_line), f"fetching {stem.name}.mp4")
        if as_json:
            echo(_row(moment, saved if save else None))
        else:
            for path in saved:
                out.print(str(path), style="bold", markup=False, soft_wrap=True)


def picture(path: Path) -> bytes:
    """Return the image to search by; shrink a large one to a JPEG. Raise SettingError if it is no image."""
    if not path.stat().st_size:
        raise SettingError(f"--image {path} is empty: give a JPEG, PNG or WebP")
    try:
        return path.read_bytes() if path.stat().st_size <= MOST_IMAGE_BYTES else _shrink(path)
    except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration) as e:
        raise SettingError(f"--image {path} can't be read ({e}): give a JPEG, PNG or WebP") from e


def _shrink(path: Path) -> bytes:
    # Imported here because only images need numpy: a search by text works without it.
    from shared.video.decode import fitted
    from shared.video.pictures import jpeg, read, resize

    picture = read(path.read_bytes())
    height, width = picture.shape[:2]
    return jpeg(resize(picture, fitted((width, height), (_IMAGE_WIDTH, height))))


def _printer(out: Console) -> Callable[[str], None]:
    return lambda line: out.print(Text(line, "yellow"), soft_wrap=True)


def _row(moment: Moment, saved: Sequence[Path] | None) -> str:
    row: dict[str, Any] = msgspec.to_builtins(moment)
    del row["picture"]
    if saved is not None:
        row["saved"] = [str(path) for path in saved]
    return msgspec.json.encode(row).decode()
