"""Segments from MEDIA, by direct get: the newest, one at a time with what it is decoded from, or those of a period.

    shown = await newest(client, "lobby")            # raises NoVideo
    async for one in walk(client, "lobby", since, until): ...

No consumer is needed. Replays are skipped: they are out of order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.bus.log import Log
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.segment import Segment, from_message, rfc3339
from shared.runtime.errors import BadSegment, Refusal
from shared.video import main_stream

# The clocks of ingest and the server differ, and a segment is stored after its end.
SLACK = dt.timedelta(seconds=2)
# Longest distance of a picture from the requested time, if there is none at that time.
NEAR_S = 2.0
# Messages read to find one segment, and bytes of a GOP read for one picture.
_MOST_STEPS = 64
_MOST_GOP = 48 * 2**20
_FEW = 8
# A gap that is not longer is none.
_LEAST_GAP_S = 0.1
# A main stream whose newest keyframe is older than this is away, or has keyframes too rarely.
_CURRENT = dt.timedelta(seconds=10)


class NoVideo(Refusal):
    """MEDIA has no video for the request."""

    def __init__(self, reason: str) -> None:
        super().__init__(404, reason)


class StoredSegment(NamedTuple):
    """A segment in MEDIA. seq: in the stream. payload: fragmented MP4. subject: a camera may have two."""

    seq: int
    segment: Segment
    payload: bytes
    subject: str

    @property
    def end(self) -> dt.datetime:
        return self.segment.start + dt.timedelta(seconds=self.segment.duration)


class StoredFrame(NamedTuple):
    """A frame of a segment, `offset` seconds from its first, with the payloads that are decoded before it."""

    stored: StoredSegment
    offset: float
    before: tuple[bytes, ...]


class Hole(NamedTuple):
    """A period without video."""

    since: dt.datetime
    until: dt.datetime


async def newest(client: Client, camera: str, *, main: bool = False) -> StoredFrame:
    """Return the newest keyframe: it is cheap to decode, and at most a GOP old.

    main: of the main stream of a camera with a substream. For a camera without keyframes it is the first frame of its
    newest segment. Raises NoVideo; nats.errors.Error or TimeoutError if the server does not answer.
    """
    found = await last(client, camera, main=main)
    if not found.segment.starts_gop and found.segment.key_seq is not None:
        found = await _at(client, camera, found.segment.key_seq)
    return StoredFrame(found, 0.0, await _before(client, found))


async def last(client: Client, camera: str, *, main: bool = False) -> StoredSegment:
    """Return a camera's newest segment. Raises as `newest` does."""
    before = None
    subject = names.streams_of(camera)[main]
    for _ in range(_MOST_STEPS):
        try:
            raw = await direct.get(client, names.MEDIA, subject=subject, before=before)
        except NotFoundError:
            break
        if one := _read(raw):
            return one
        before = raw.seq
    raise NoVideo(f"there is no video of camera {camera}")


async def around(client: Client, camera: str, time: dt.datetime) -> StoredFrame:
    """Return the frame captured at `time`, or the nearest within NEAR_S. Raises as `newest` does."""
    earlier: StoredSegment | None = None
    later: StoredSegment | None = None
    async with Log(client, names.MEDIA) as log:
        batch = await log.since(names.media(camera), time - SLACK, most=_FEW)
        steps = 0
        while batch and later is None and steps < _MOST_STEPS:
            found = [one for raw in batch if (one := _read(raw))]
            earlier = next((one for one in reversed(found) if one.end <= time), earlier)
            later = next((one for one in found if one.end > time), None)
            steps += len(batch)
            batch = await log.read(names.media(camera), batch[-1].seq + 1, most=_FEW) if later is None else []
    near = [(_distance(one, time), one) for one in (later, earlier) if one is not None]
    distance, stored = min(near, default=(NEAR_S, None), key=lambda pair: pair[0])
    if stored is None or distance > NEAR_S:
        raise NoVideo(f"there is no video of camera {camera} at {rfc3339(time)}: it has expired, or there was none")
    offset = min(max(0.0, (time - stored.segment.start).total_seconds()), stored.segment.duration)
    return StoredFrame(stored, offset, await _before(client, stored))


async def larger(client: Client, camera: str, found: StoredFrame, at: dt.datetime | None) -> StoredFrame | None:
    """Return the frame at the same time of the camera's main stream; None if there is none that can be decoded.

    at: None for the newest keyframe. Raises nats.errors.Error or TimeoutError if the server does not answer.
    """
    head = found.stored.segment
    try:
        if at is None:
            newer = await newest(client, camera, main=True)
            is_current = newer.stored.end >= found.stored.segment.start - _CURRENT
            return newer if is_current and main_stream.is_alike(newer.stored.segment, head) else None
        shown = head.start + dt.timedelta(seconds=found.offset)
        one = await main_stream.at(client, camera, shown, in_place_of=head)
        if one is None:
            return None
        stored = StoredSegment(one.seq, one.segment, one.payload, names.main(camera))
        return StoredFrame(stored, one.offset(shown), await _before(client, stored))
    except NoVideo:
        return None


async def walk(
    client: Client, camera: str, since: dt.datetime, until: dt.datetime, *, main: bool = False
) -> AsyncGenerator[StoredSegment, None]:
    """Yield the segments that cover [since, until), in order, from a keyframe on.

    main: of the main stream of a camera with a substream. A segment is skipped if those that it is decoded from are
    missing. Raises nats.errors.Error or TimeoutError if the server does not answer.
    """
    subject = names.streams_of(camera)[main]
    last: StoredSegment | None = None
    async with Log(client, names.MEDIA) as log:
        batch = await log.since(subject, since - SLACK, most=_FEW)
        while batch:
            for one in filter(None, map(_read, batch)):
                if last is None and one.end <= since:
                    continue
                if one.segment.start >= until:
                    return
                if last is None:
                    for early in await _earlier(log, one):
                        yield early
                        last = early
                if one.segment.starts_gop or _follows(last, one):
                    yield one
                    last = one
            batch = await log.read(subject, batch[-1].seq + 1)


def holes(found: Sequence[StoredSegment]) -> list[Hole]:
    """Return the gaps between consecutive segments."""
    return [
        Hole(a.end, b.segment.start)
        for a, b in pairwise(found)
        if (b.segment.start - a.end).total_seconds() > _LEAST_GAP_S
    ]


def none_between(camera: str, since: dt.datetime, until: dt.datetime) -> NoVideo:
    stretch = f"from {rfc3339(since)} to {rfc3339(until)}"
    return NoVideo(f"there is no video of camera {camera} {stretch}: it has expired, or there was none")


# ---- reading MEDIA


def _read(raw: direct.Stored) -> StoredSegment | None:
    """Parse a stored message; None for a replay, or an invalid segment."""
    try:
        return (
            None
            if REPLAY_OF in raw.headers
            else StoredSegment(raw.seq, from_message(raw.subject, raw.headers), raw.data, raw.subject)
        )
    except BadSegment:
        return None


async def _at(client: Client, camera: str, seq: int) -> StoredSegment:
    """Return a segment that starts a GOP. Raises NoVideo."""
    try:
        one = _read(await direct.get(client, names.MEDIA, seq=seq))
    except NotFoundError:
        one = None
    if one is None or one.segment.camera != camera or not one.segment.starts_gop:
        raise NoVideo(f"the keyframe of camera {camera}'s newest video has expired")
    return one


async def _before(client: Client, stored: StoredSegment) -> tuple[bytes, ...]:
    """Return the payloads that are decoded before a segment. Raises NoVideo if one is missing."""
    if stored.segment.key_seq is None:
        return ()
    async with Log(client, names.MEDIA) as log:
        found = await _earlier(log, stored)
    if not found and not stored.segment.starts_gop:
        raise NoVideo(
            f"the keyframe before {rfc3339(stored.segment.start)} of camera {stored.segment.camera} has expired"
        )
    return tuple(one.payload for one in found)


async def _earlier(log: Log, stored: StoredSegment) -> list[StoredSegment]:
    """Return the segments that one is decoded from; none if one is missing, or if it needs none."""
    if (seq := stored.segment.key_seq) is None:
        return []
    found: list[StoredSegment] = []
    size = 0
    while seq < stored.seq and (batch := await log.read(stored.subject, seq)):
        for one in filter(None, map(_read, batch)):
            if one.seq >= stored.seq or one.segment.epoch != stored.segment.epoch:
                continue
            size += len(one.payload)
            if size > _MOST_GOP or not (one.segment.starts_gop if not found else _follows(found[-1], one)):
                return []
            found.append(one)
        seq = batch[-1].seq + 1
    return found if found and found[0].seq == stored.segment.key_seq and _follows(found[-1], stored) else []


def _follows(before: StoredSegment | None, one: StoredSegment) -> bool:
    """Whether `one` directly follows `before`."""
    return before is not None and (before.segment.epoch, before.segment.n + 1) == (one.segment.epoch, one.segment.n)


def _distance(one: StoredSegment, time: dt.datetime) -> float:
    return max((one.segment.start - time).total_seconds(), (time - one.end).total_seconds(), 0.0)
