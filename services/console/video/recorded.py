"""Video that MEDIA has let go, as a recorder gives it: a stretch as pieces of a clip, and a frame of a time.

Where no recorder answers, there is none.
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
    """Groups that can be one file. holes: times of the whole stretch that nothing shows. is_whole: whether the row is
    all that there is of it.
    """

    plays: list[Play]
    holes: list[Hole]
    is_whole: bool


class Coded(NamedTuple):
    """A frame before it is decoded, with the payloads that are decoded before it. start: of `payload`. offset: of the
    frame in it, in seconds. frames: how many it has. key: which it is of the camera's.
    """

    payload: bytes
    before: tuple[bytes, ...]
    start: dt.datetime
    offset: float
    frames: int
    key: object


async def between(client: Client, camera: str, since: dt.datetime, until: dt.datetime, most: int) -> Row | None:
    """What shows [since, until), of `most` bytes at most, from its beginning on; None where there is nothing."""
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
    """The frame that was captured at `time`, or the nearest within NEAR_S; None where there is none."""
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
