"""The recordings, and the video of any time: from recordings, from MEDIA, or from both combined.

Example:
    found = await recordings.between(client, "lobby", since, until)
    async for part in recordings.clip(client, "lobby", found.plays):
        file.write(part)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.contract import names
from shared.recordings.playing import Play
from shared.recordings.queries import (
    SIZE,
    HoursRequest,
    ListedFile,
    RangeAnswer,
    RangeRequest,
    RecordingTotals,
    TotalsAnswer,
    VideoRequest,
)
from shared.recordings.records import Hole
from shared.runtime.errors import TidegateError
from shared.video import fmp4
from shared.video.fmp4 import Group

ANSWER_S = 60.0


async def between(client: Client, camera: str, since: dt.datetime, until: dt.datetime) -> RangeAnswer:
    """Return all that covers [since, until), at most a day. Raises TidegateError."""
    plays: list[Play] = []
    while True:
        query = RangeRequest(camera=camera, since=since, until=until, skip=len(plays))
        found = requests.read(await _ask(client, names.RECORDING, query), RangeAnswer)
        plays += found.plays
        if not found.more or not found.plays:
            return msgspec.structs.replace(found, plays=plays, more=False)


async def totals(client: Client, camera: str | None = None) -> list[RecordingTotals]:
    """Return the hourly totals of one camera, or of all cameras. Raises TidegateError."""
    answer = await _ask(client, names.RECORDING_HOURS, HoursRequest(camera=camera))
    return requests.read(answer, TotalsAnswer).cameras


async def listed(client: Client, camera: str) -> AsyncIterator[tuple[ListedFile | Hole, dt.datetime]]:
    """All files and holes of a camera, each with its beginning, by time. Raises TidegateError."""
    (total,) = await totals(client, camera)
    yielded = set[Hole]()
    for day in sorted({one.hour.astimezone(dt.UTC).date() for one in total.hours}):
        answer = await _ask(client, names.RECORDING_HOURS, HoursRequest(camera=camera, day=day))
        (found,) = requests.read(answer, TotalsAnswer).cameras
        row: list[tuple[ListedFile | Hole, dt.datetime]] = [(file, file.start) for file in found.files]
        # A hole over midnight belongs to both days.
        row += [(hole, hole.since) for hole in found.holes if hole not in yielded]
        yielded.update(found.holes)
        for one in sorted(row, key=lambda pair: pair[1]):
            yield one


async def head(client: Client, camera: str, play: Play) -> bytes:
    """Return the initialization bytes of a group. Raises TidegateError."""
    return await video(client, VideoRequest(camera=camera, file=play.headed, begin=0, end=play.init))


async def group(client: Client, camera: str, play: Play) -> bytes:
    """Return a group's bytes, moved to its place in the video. Raises TidegateError."""
    return await video(
        client,
        VideoRequest(camera=camera, file=play.file, begin=play.begin, end=play.end, ticks=play.ticks, sequence=play.n),
    )


async def alone(client: Client, camera: str, play: Play) -> bytes:
    """Return a group's bytes after its initialization bytes: it can be decoded. Raises TidegateError."""
    return await head(client, camera, play) + await group(client, camera, play)


def parts(plays: Sequence[Play]) -> Iterator[list[Play]]:
    """Yield rows that can be one file each: a new frame size needs a new file."""
    for _, row in groupby(plays, lambda play: play.headed):
        yield list(row)


async def opening(client: Client, camera: str, row: Sequence[Play]) -> bytes:
    """Return the first bytes of a row's file: its length, and an index to seek by. Raises TidegateError."""
    groups = [Group(play.at - row[0].at, play.end - play.begin) for play in row]
    length = row[-1].at + row[-1].seconds - row[0].at
    return fmp4.opening(await head(client, camera, row[0]), groups, length, row[0].early)


async def clip(client: Client, camera: str, row: Sequence[Play]) -> AsyncIterator[bytes]:
    """Yield a row as one fragmented MP4, part by part. Raises TidegateError."""
    yield await opening(client, camera, row)
    for play in row:
        yield await group(client, camera, play)


async def video(client: Client, wanted: VideoRequest) -> bytes:
    """Return the bytes of a file, or of a moved group. Raises TidegateError."""
    found = bytearray()
    while True:
        answer = await _ask(client, names.RECORDING_VIDEO, msgspec.structs.replace(wanted, offset=len(found)))
        found += answer.data
        size = int((answer.headers or {}).get(SIZE, "0"))
        if len(found) >= size:
            return bytes(found)
        if not answer.data:
            raise TidegateError(f"{wanted.file} ended early: ask again")


async def _ask(client: Client, subject: str, query: msgspec.Struct) -> Msg:
    try:
        return await requests.ask(client, subject, msgspec.json.encode(query), timeout_s=ANSWER_S)
    except NobodyAnswers as e:
        raise NobodyAnswers(
            f"no recorder answers ({e}): start 'tidegate up --record', or run python -m services.recorder"
        ) from e
