"""`tidegate clip`: stored video of a time range, as an MP4 file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click
from nats.aio.client import Client

from shared.client import recordings, registry
from shared.contract import names
from shared.recordings.playing import Play
from shared.recordings.queries import LONGEST
from shared.recordings.records import Hole
from shared.runtime.errors import SettingError
from tidegate.client.files import written
from tidegate.client.times import clock, instant, length, now_here
from tidegate.commands.options import NEW_FILE, TIME, data_option, with_admin
from tidegate.view.inert import echo
from tidegate.view.waiting import Tell, telling, waited_for

CAUSES = {
    "camera": "the camera sent nothing",
    "dropped": "ingest had no room for it",
    "expired": "MEDIA had let it go before it was recorded",
    "damaged": "it could not be read",
    "policy": "it was not to be recorded",
    "unmasked": "its masks could not be made in it",
}


@click.command()
@data_option
@click.argument("camera")
@click.argument("file", type=NEW_FILE)
@click.option(
    "--from", "--since", "since", metavar="TIME", default="1m", help=f"Start of the time range: {TIME}. Default: 1m."
)
@click.option(
    "--to", "--until", "until", metavar="TIME", help="End of the time range, in the same formats. Default: now."
)
def clip(data: Path | None, camera: str, file: Path, since: str, until: str | None) -> None:
    """Save the video of CAMERA as FILE, from recordings and from MEDIA.

    \b
    The last five minutes:  tidegate clip lobby lobby.mp4 --from 5m
    A time of today:        tidegate clip lobby door.mp4 --from 13:05 --to 13:10

    The video is not re-encoded, so it begins with the keyframe before --from. The file skips gaps of the recording, and
    the command prints them. It needs 'tidegate up --record'.
    """
    now = now_here()
    begin = instant("--from", since, now)
    end = instant("--to", until, now) if until else now
    if not begin < end <= begin + LONGEST:
        raise SettingError(f"--to is to be after --from, and no more than {LONGEST // dt.timedelta(hours=1)} h later")
    names.check_camera(camera)
    with_admin(data, lambda client: run(client, camera, file, begin, end))


async def run(client: Client, camera: str, file: Path, since: dt.datetime, until: dt.datetime) -> None:
    """Save the video and print its gaps. Raise TidegateError."""
    video = await waited_for(recordings.between(client, camera, since, until), "looking for what is kept")
    now = now_here()
    if not video.plays:
        missing = await registry.missing(client.jetstream(), camera)
        raise SettingError(
            f"there is no video of {camera} from {clock(since, now)} to {clock(until, now)}"
            + (f": {missing}" if missing else "")
            + "".join(f"\n{sentence}" for sentence in _gap_lines(video.holes, now))
        )
    with telling() as tell:
        for n, plays in enumerate(recordings.parts(video.plays)):
            part = file if n == 0 else file.with_stem(f"{file.stem}-{n + 1}")
            with written(part, "FILE") as temp_path, temp_path.open("wb") as target:
                size = await _write(client, camera, plays, target, tell)
            begin, end = plays[0].start, plays[-1].until
            echo(
                f"{part}: {length(sum(play.seconds for play in plays))}, {size / 1e6:.1f} MB, "
                f"{clock(begin, now)} to {clock(end, now)}"
            )
    for sentence in _gap_lines(video.holes, now):
        echo(sentence)


async def _write(client: Client, camera: str, plays: Sequence[Play], target: BinaryIO, tell: Tell) -> int:
    size = 0
    async for part in recordings.clip(client, camera, plays):
        target.write(part)
        size += len(part)
        tell(f"{size / 1e6:.1f} MB")
    return size


def _gap_lines(holes: Sequence[Hole], now: dt.datetime) -> list[str]:
    return [
        f"{clock(hole.since, now)} to {clock(hole.until, now)}: no video, as {CAUSES[hole.cause]}" for hole in holes
    ]
