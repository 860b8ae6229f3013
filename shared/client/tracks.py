"""The tracks of a camera."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import PathPoint, Track, Tracks, decode
from shared.runtime.errors import BadMessage

# Tracks are published after their video: when they end, or wait for a missing segment.
LATER_S = 60.0


class Stretch(NamedTuple):
    """A camera's time, from `since` to `until`."""

    camera: str
    since: dt.datetime
    until: dt.datetime


class Followed(NamedTuple):
    """A track, assembled from its events. last: its last one. size: the video's width and height, if known."""

    last: Track
    path: list[PathPoint]
    size: tuple[int, int] | None


async def read(client: Client, stretch: Stretch) -> list[Followed]:
    """Return the tracks of that time, oldest first, each with that part of its path."""
    subject = names.event("tracks", stretch.camera)
    try:
        seq = (await direct.get(client, names.EVENTS, subject=subject, since=stretch.since)).seq
    except NotFoundError:
        return []
    found: dict[str, Followed] = {}
    end = stretch.until + dt.timedelta(seconds=LATER_S)
    async with Log(client, names.EVENTS) as log:
        while stored := await log.read(subject, seq):
            for message in stored:
                try:
                    event = decode(message.data, Tracks, subject)
                except BadMessage:  # not written by analytics
                    continue
                size = (event.width, event.height) if event.width and event.height else None
                for track in event.tracks:
                    points = [p for p in track.path if stretch.since <= p.time <= stretch.until]
                    previous = found.get(track.id)
                    if points or previous:
                        found[track.id] = Followed(track, [*(previous.path if previous else ()), *points], size)
            seq = stored[-1].seq + 1
            if stored[-1].time > end:
                break
    return sorted(found.values(), key=lambda f: (f.last.first, f.last.id))
