"""`tidegate segment`: the video segment of an event."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import NamedTuple

import click
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.search.clip import Clip, collect, join
from shared.contract import names
from shared.contract.segment import from_headers
from shared.runtime.errors import SettingError
from tidegate.client.files import written
from tidegate.commands.options import NEW_FILE, data_option, with_admin
from tidegate.view.inert import echo
from tidegate.view.waiting import waited_for

# A camera with one keyframe per minute, at 16 Mbit/s.
MOST_BYTES = 128 * 2**20


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


class Playable(NamedTuple):
    """The video of a segment, from its keyframe on."""

    camera: str
    clip: Clip


async def fetch(client: Client, seq: int) -> Playable:
    """Return the segment at `seq` of MEDIA. Raises TidegateError if it has expired, or can't be read."""
    js = client.jetstream()
    try:
        stored = await js.get_msg(names.MEDIA, seq, direct=True)
    except NotFoundError as e:
        state = (await js.stream_info(names.MEDIA)).state
        raise SettingError(f"{names.MEDIA}/{seq} is not kept: {_available(state.first_seq, state.last_seq)}") from e
    head = from_headers(stored.headers)
    end = head.start + dt.timedelta(seconds=head.duration)
    return Playable(head.camera, join(await collect(js, head.camera, seq, head.start, end, max_bytes=MOST_BYTES)))


def _available(first: int, last: int) -> str:
    if last < first or not last:
        return "there is no video yet"
    return f"MEDIA has {first} to {last} now, ten minutes by default (MEDIA_MAX_AGE_S)"
