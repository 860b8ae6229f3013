"""Video that has left MEDIA, from a recorder: a period as pieces of a clip, and a frame at a time.

If no recorder answers, there is none.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from nats.aio.client import Client

from services.console.video.reading import NEAR_S
from shared.bus.requests import NobodyAnswers
from shared.client import recordings
from shared.recordings.playing import Play
from shared.recordings.records import Hole
from shared.runtime.errors import BadSegment, Refusal
from shared.video import fmp4


class Row(NamedTuple):
    """Groups that can be one file. holes: periods of the whole request without video. is_whole: whether the row has all
    recorded groups.
    """

    plays: list[Play]
    holes: list[Hole]
    is_whole: bool


class Coded(NamedTuple):
    """A frame before it is decoded, with the payloads that are decoded before it. start: of `payload`. offset: of the
    frame in it, in seconds. frames: in `payload`. key: identifies `payload` within the camera.
    """

    payload: bytes
    before: tuple[bytes, ...]
    start: dt.datetime
    offset: float
    frames: int
    key: object


async def between(client: Client, camera: str, since: dt.datetime, until: dt.datetime, most: int) -> Row | None:
    """Return recordings of [since, until), at most `most` bytes, from the beginning on; None if there are none."""
    try:
        found = await recordings.between(client, camera, since, until)
    except (NobodyAnswers, Refusal):
        return None
    row = next(recordings.parts(found.plays), [])
    size, count = 0, 0
    for play in row:
        size += play.end - play.begin
        if size > most:
            break
        count += 1
    return Row(row[:count], found.holes, count == len(found.plays)) if count else None


async def around(client: Client, camera: str, time: dt.datetime) -> Coded | None:
    """Return the frame captured at `time`, or the nearest within NEAR_S; None if there is none."""
    near = dt.timedelta(seconds=NEAR_S)
    try:
        found = (await recordings.between(client, camera, time - near, time + near)).plays
        play = min(found, key=lambda one: max(one.start - time, time - one.until), default=None)
        if play is None:
            return None
        payload = await recordings.alone(client, camera, play)
        frames = sum(len(fragment.samples) for fragment in fmp4.read(payload).fragments)
    except (NobodyAnswers, Refusal, BadSegment):
        return None
    offset = min(max(0.0, (time - play.start).total_seconds()), play.seconds)
    return Coded(payload, (), play.start, offset, frames, (play.file, play.begin))
