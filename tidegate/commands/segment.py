"""`tidegate segment`: the video segment of an event."""

from __future__ import annotations

import re
from pathlib import Path

import click
from nats.aio.client import Client

from shared.runtime.errors import SettingError
from tidegate.client.files import written
from tidegate.client.segment import fetch
from tidegate.commands.options import NEW_FILE, data_option, with_admin
from tidegate.view.inert import echo
from tidegate.view.waiting import waited_for


@click.command()
@data_option
@click.argument("segment")
@click.option("--save", type=NEW_FILE, help="File to write. Default: CAMERA-SEQUENCE.mp4.")
def segment(data: Path | None, segment: str, save: Path | None) -> None:
    """Save the video segment of an event. SEGMENT is its stream and sequence, such as MEDIA/1234.

    \b
    Find the segment:       tidegate watch detections --json | jq .segment
    Save it:                tidegate segment MEDIA/1234 --save lobby.mp4
    Of a dead letter:       tidegate dlq list

    The file begins at the keyframe that the segment depends on. MEDIA stores video for ten minutes by default.
    """
    match = re.fullmatch(r"(?:MEDIA/)?([1-9]\d{0,17})", segment.strip())
    if not match:
        raise SettingError(f"SEGMENT {segment!r} can't be used: give a stream and a sequence, as in MEDIA/1234")
    seq = int(match[1])

    async def work(client: Client) -> None:
        found = await waited_for(fetch(client, seq), "fetching")
        path = save or Path(f"{found.camera}-{seq}.mp4")
        with written(path) as part:
            part.write_bytes(found.clip.data)
        seconds = (found.clip.end - found.clip.start).total_seconds()
        echo(f"{path}: {found.camera}, {found.clip.start.astimezone():%Y-%m-%d %H:%M:%S}, {seconds:.1f} s")

    with_admin(data, work)
