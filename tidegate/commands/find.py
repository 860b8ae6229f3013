"""`tidegate find`: moments by words, by a picture, by what is like one found before, or by labels."""

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

from shared.client import find as asking
from shared.client import registry
from shared.contract import names
from shared.contract.search import MAX_K, Moment, Query
from shared.runtime.errors import SettingError
from tidegate.client import clips
from tidegate.client.times import instant, now_here
from tidegate.commands.options import FILE, FOLDER, TIME, Number, data_option, screen, with_admin
from tidegate.view.inert import echo
from tidegate.view.moments import remarks, search_summary, show
from tidegate.view.waiting import waited_for

# A query's image is scaled to a few hundred pixels by the model that sees it: more bytes than this tell it nothing.
MOST_IMAGE_BYTES = 2 * 2**20
_IMAGE_WIDTH = 1280


@click.command()
@data_option
@click.argument("text", required=False)
@click.option("--image", type=FILE, help="Find what looks like the picture in this file.")
@click.option("--like", metavar="ID", help="Find what looks like a moment found before.")
@click.option("--camera", "cameras", multiple=True, help="Look on this camera alone; may be repeated.")
@click.option("--since", metavar="TIME", help=f"Look from then on: {TIME}.")
@click.option("--until", metavar="TIME", help="Look until then, given in the same ways.")
@click.option("--label", "labels", multiple=True, help="Look where cv saw this, such as person; may be repeated.")
@click.option("--run", "of_run", metavar="RUN", help="Find what this run of 'tidegate reanalyze' has told search.")
@click.option("--min-score", type=Number(0, 1), help="Leave out what is less alike than this, or a label less sure.")
@click.option("-k", type=click.IntRange(1, MAX_K), default=10, show_default=True, help="Find this many at most.")
@click.option("--save", type=FOLDER, help="Put video and pictures in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def find(data: Path | None, text: str | None, save: Path | None, as_json: bool, **given: Any) -> None:
    """Find moments by TEXT, by a picture, by what is like one found before, or by labels.

    \b
    In words:               tidegate find "a man on a bicycle" --camera street --since 1h
    Seen by the detector:   tidegate find --label truck --since 13:05 --min-score 0.7
    More of the same:       tidegate find --like ID
    Keep the evidence:      tidegate find "a red car" --save clips/
    In a pipe:              tidegate find "a red car" | cut -f8

    It needs 'tidegate up --search'. Video is there for as long as MEDIA keeps it, ten minutes by default; what was
    seen, for a week.
    """
    now = now_here()
    query = Query(
        text=(text or "").strip() or None,
        image=picture(given["image"]) if given["image"] else None,
        like=(given["like"] or "").strip() or None,
        cameras=[names.check_camera(camera) for camera in given["cameras"]],
        since=instant("--since", given["since"], now) if given["since"] is not None else None,
        until=instant("--until", given["until"], now) if given["until"] is not None else None,
        labels=[label for label in given["labels"] if label.strip()],
        run=names.check_token(given["of_run"], "run") if given["of_run"] else None,
        min_score=given["min_score"],
        k=given["k"],
        picture=save is not None,
    ).check()
    with_admin(data, lambda client: run(client, query, screen(), as_json=as_json, save=save))


async def run(client: Client, query: Query, out: Console, *, as_json: bool, save: Path | None) -> None:
    """Ask, print what was found, and save its video and pictures in `save`. Raises TidegateError."""
    found = await waited_for(asking.ask(client, query), "searching")
    say: Callable[[str], None] = (lambda line: echo(line, err=True)) if as_json else _printer(out)
    if not as_json and found.moments:
        show(out, found.moments)
    if not found.moments:
        say(f"nothing found: {search_summary(query)}")
    for line in remarks(found, query):
        say(line)
    for camera in query.cameras if not found.moments else ():
        if sentence := await registry.missing(client.jetstream(), camera):
            say(sentence)
    for n, moment in enumerate(found.moments, 1):
        stem = save / f"{n:02}-{moment.camera}-{moment.start.astimezone():%Y%m%dT%H%M%S}" if save else None
        saved: list[Path] = []
        if stem:
            saved = await waited_for(clips.keep(client, stem, moment, say), f"fetching {stem.name}.mp4")
        if as_json:
            echo(_row(moment, saved if save else None))
        else:
            for path in saved:
                out.print(str(path), style="bold", markup=False, soft_wrap=True)


def picture(path: Path) -> bytes:
    """A file to search by; a large one as a smaller JPEG. Raises SettingError if it is no image."""
    if not path.stat().st_size:
        raise SettingError(f"--image {path} is empty: give a JPEG, PNG or WebP")
    try:
        return path.read_bytes() if path.stat().st_size <= MOST_IMAGE_BYTES else _shrunk(path)
    except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration) as e:
        raise SettingError(f"--image {path} can't be read ({e}): give a JPEG, PNG or WebP") from e


def _shrunk(path: Path) -> bytes:
    # Only here are pixels needed: asking in words works where numpy is not installed.
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
