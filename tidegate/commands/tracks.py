"""`tidegate tracks`: tracks of analytics, as a table, video or file."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
from nats.aio.client import Client
from rich.console import Console

from shared.client import registry
from shared.client.tracks import Followed, Stretch, read
from shared.contract import names
from shared.runtime.errors import SettingError
from tidegate.client.files import written
from tidegate.client.times import instant, now_here
from tidegate.commands.options import FOLDER, NEW_FILE, TIME, Number, data_option, extra, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo, echo_json
from tidegate.view.records import Right
from tidegate.view.waiting import telling, waited_for


@click.command()
@data_option
@click.argument("camera")
@click.option("--since", metavar="TIME", help=f"Start of the time range: {TIME}. Default: 30s.")
@click.option("--until", metavar="TIME", help="End of the time range, in the same formats. Default: now.")
@click.option("--save", type=NEW_FILE, help="File to write the video with tracks, zones and lines to.")
@click.option("--clips", type=FOLDER, help="Folder to save video and a picture of each track in.")
@click.option("--mot", type=NEW_FILE, help="File to write the boxes to, in the MOTChallenge format.")
@click.option(
    "--fps", type=Number(0, 120, min_open=True), default=10.0, show_default=True, help="Frames per second of --mot."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a track.")
def tracks(data: Path | None, camera: str, as_json: bool, **options: Any) -> None:
    """Show the tracks of CAMERA, or save them as video.

    \b
    The last half minute:   tidegate tracks lobby
    As one video:           tidegate tracks lobby --since 1m --save lobby.mp4
    A clip per track:       tidegate tracks lobby --since 1h --clips seen/
    For a benchmark:        tidegate tracks lobby --since 13:05 --until 13:10 --mot lobby.txt --fps 5

    The command needs 'tidegate up --analytics'. Tracks are stored for a week. MEDIA stores video for ten minutes by
    default; recordings store it longer.
    """
    now = now_here()
    stretch = Stretch(
        camera=names.check_camera(camera),
        since=instant("--since", "30s" if options["since"] is None else options["since"], now),
        until=instant("--until", options["until"], now) if options["until"] is not None else now,
    )
    save = Save(video=options["save"], clips=options["clips"], mot=options["mot"], fps=options["fps"])
    with_admin(data, lambda client: run(client, stretch, screen(), as_json=as_json, save=save))


class Save(NamedTuple):
    """video, mot: files to write. clips: the folder for clips of tracks. fps: of the frame numbers in `mot`."""

    video: Path | None
    clips: Path | None
    mot: Path | None
    fps: float


async def run(client: Client, stretch: Stretch, out: Console, *, as_json: bool, save: Save) -> None:
    """Print the tracks, and save them as `save` says. Raise TidegateError."""
    if stretch.since >= stretch.until:
        raise SettingError(f"--since {stretch.since:%H:%M:%S} is not before --until {stretch.until:%H:%M:%S}")
    if save.video:
        with extra("demo", "drawing"):
            from tidegate.drawing.track_video import check_length, write_track_video

        check_length(stretch)
    tracks = await waited_for(read(client, stretch), "reading tracks")
    if not tracks and (sentence := await registry.missing(client.jetstream(), stretch.camera)):
        # A removed camera may still have video.
        if not save.video:
            raise SettingError(sentence)
        echo(sentence, err=True)
    await _print(client, stretch.camera, tracks, out, as_json=as_json, clips=save.clips)
    if save.mot:
        lines = list(mot_lines(tracks, stretch.since, save.fps))
        with written(save.mot, "--mot") as part:
            part.write_text("".join(f"{line}\n" for line in lines))
        echo(f"{save.mot}: {len(lines)} boxes", err=as_json)
    if save.video:
        with telling() as tell:
            seconds = await write_track_video(client, stretch, tracks, save.video, tell)
        echo(f"{save.video}: {seconds:.1f} s", err=as_json)


async def _print(
    client: Client, camera: str, tracks: Sequence[Followed], out: Console, *, as_json: bool, clips: Path | None
) -> None:
    """Print each track, and its files if `clips` is a folder for them."""
    if not as_json:
        records.show(out, FIELDS, _rows(tracks), f"nothing was followed on {camera} in that time")
    # `aclosing` ends the decoding process on any exit from the loop.
    async with aclosing(_save_clips(client, camera, tracks, clips, err=as_json)) as rows:
        async for track, files in rows:
            if as_json:
                extra_fields = {"saved": [str(path) for path in files]} if clips else {}
                echo_json({**msgspec.to_builtins(track.last), "path": track.path, **extra_fields})
            else:
                for path in files:
                    out.print(str(path), style="bold", markup=False, soft_wrap=True)


async def _save_clips(
    client: Client, camera: str, tracks: Sequence[Followed], to: Path | None, *, err: bool
) -> AsyncGenerator[tuple[Followed, list[Path]], None]:
    """Yield each track with its written files. err: whether to print missing video to standard error."""
    if to is None or not tracks:
        for track in tracks:
            yield track, []
        return
    with extra("demo", "a picture of each track"):
        import numpy  # noqa: F401 - of the process that decodes

        from tidegate.client.tracked import Saving
    async with Saving(client, camera, to, lambda line: echo(line, err=err)) as saving:
        for n, track in enumerate(tracks, 1):
            yield track, await waited_for(saving.keep(n, track), f"fetching {n} of {len(tracks)}")


def mot_lines(tracks: Sequence[Followed], begin: dt.datetime, fps: float) -> Iterator[str]:
    """Yield lines of frame, id, left, top, width, height, score, -1, -1, -1.

    Frame 1 is at `begin`. Units are pixels, or shares of the frame if its size is unknown.
    """
    rows = []
    for number, track in enumerate(tracks, 1):
        width, height = track.size or (1, 1)
        for p in track.path:
            frame = round((p.time - begin).total_seconds() * fps) + 1
            x1, y1, x2, y2 = (v * n for v, n in zip(p.box, (width, height) * 2, strict=True))
            rows.append((frame, number, x1, y1, x2 - x1, y2 - y1, track.last.score if p.score is None else p.score))
    for frame, number, x, y, w, h, score in sorted(rows):
        yield f"{frame},{number},{x:.4f},{y:.4f},{w:.4f},{h:.4f},{score:.3f},-1,-1,-1"


FIELDS = ("track", "label", Right("score"), "seen at", *map(Right, ("seconds", "frames", "speed")), "zones", "")


def _rows(tracks: Sequence[Followed]) -> list[tuple[str, ...]]:
    return [
        (
            track.id,
            track.label,
            f"{track.score:.0%}",
            f"{track.first.astimezone():%H:%M:%S}",
            f"{(track.last - track.first).total_seconds():.1f}",
            str(len(path)),
            f"{track.speed:.2f}/s",
            ", ".join(track.zones),
            "ended" if track.state == "end" else "still" if track.stationary else "moving",
        )
        for track, path, _ in tracks
    ]
