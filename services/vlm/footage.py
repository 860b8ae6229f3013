"""Frames out of MEDIA, as JPEG: of a stretch of a camera's time, or of given segments.

    frames = await footage.between("lobby", start, end, count=8)
    frames = await footage.of("lobby", [1234, 1235], count=8)

Segments are read by direct get: nothing is consumed, and only segments near a wanted frame cross the bus.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.vlm import sampling
from shared.bus import direct
from shared.bus.direct import Stored
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.events import Cause, Seen
from shared.contract.segment import Segment, from_headers
from shared.runtime.errors import BadMessage, BadSegment, TidegateError
from shared.runtime.telemetry import logger
from shared.video import pictures
from shared.video.budget import Budget
from shared.video.decode import Decoded
from shared.video.segments import SegmentDecoder

# Clocks of ingest and the server differ, and a segment is stored when it has ended.
SLACK = dt.timedelta(seconds=2)
# At most this many segments are looked at for one instant: one that ingest held back is stored after its neighbours.
MOST_STEPS = 64


class JpegFrame(NamedTuple):
    """One frame. time: wall clock. seq: sequence in MEDIA of its segment. jpeg: the picture."""

    time: dt.datetime
    seq: int
    jpeg: bytes


class NoFootage(TidegateError):
    """There is no video to show. cause: whether there ever was."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause: Cause = cause


class _Part(NamedTuple):
    """A segment, and the offsets in seconds of the frames that are wanted of it."""

    stored: Stored
    head: Segment
    offsets: list[float]

    @property
    def end(self) -> dt.datetime:
        return self.head.start + dt.timedelta(seconds=self.head.duration)


class Footage:
    """See the module. side: pixels of a frame's longer side, at most."""

    def __init__(self, client: Client, *, side: int, threads: int, budget: Budget | None = None) -> None:
        self._client = client
        self._side = side
        js = client.jetstream()
        self._segments = SegmentDecoder(js, threads=threads, budget=budget or Budget(), service="vlm")
        self._log = logger("vlm")

    async def between(
        self, camera: str, start: dt.datetime, end: dt.datetime, count: int, *, also: Sequence[dt.datetime] = ()
    ) -> list[JpegFrame]:
        """Up to `count` frames of [start, end): those at `also`, and the rest spread evenly over the time with video.

        Raises NoFootage if there is none, BadSegment if none can be decoded, nats.errors.Error or TimeoutError if the
        server does not answer.
        """
        first = await self._at(camera, start, end, after=0)
        if first is None:
            raise await self._none(camera, start, end)
        last = await self._last(camera)
        begin = max(start, first.head.start)
        end = min(end, last.end) if last and last.end > begin else end
        wanted = sorted({*also[:count], *sampling.instants(begin, end, count - len(also[:count]))})
        parts: list[_Part] = []
        for n, instant in enumerate(wanted):
            until = wanted[n + 1] if n + 1 < len(wanted) else end
            before = parts[-1] if parts else None
            if before and before.head.start <= instant < before.end:
                before.offsets.append((instant - before.head.start).total_seconds())
            elif part := await self._at(camera, instant, until, after=before.stored.seq if before else 0):
                parts.append(part)
        # Video may lie between the instants alone.
        parts = parts or [first]
        # Where frames are further apart than segments, a keyframe shows as much as its neighbours, and is far cheaper.
        return await self._decode(
            [p if len(p.offsets) > 1 or also or p.head.start < begin else p._replace(offsets=[0.0]) for p in parts]
        )

    async def of(self, camera: str, seqs: Sequence[int], count: int) -> list[JpegFrame]:
        """Up to `count` frames of the segments, evenly spread over what is kept of them.

        Raises as `between` does, and BadMessage for a segment of another camera.
        """
        found: list[_Part] = []
        for seq in sampling.evenly(await self._kept(sorted(set(seqs)), count), count):
            try:
                stored = await direct.get(self._client, names.MEDIA, seq=seq)
            except NotFoundError:
                continue
            head = _head(stored)
            if head is None or head.camera != camera:
                raise BadMessage(f"sequence {seq} of MEDIA is no segment of camera {camera}")
            found.append(_Part(stored, head, []))
        if not found:
            raise NoFootage("expired", "none of its segments is kept in MEDIA any more: raise MEDIA_MAX_AGE_S")
        offsets = sampling.offsets([part.head.duration for part in found], count)
        return await self._decode([p._replace(offsets=o) for p, o in zip(found, offsets, strict=True) if o])

    async def again(self, seen: Sequence[Seen]) -> list[JpegFrame]:
        """Those frames of an event that are still kept. Raises as `of` does."""
        wanted: dict[int, list[dt.datetime]] = {}
        for frame in seen:
            wanted.setdefault(frame.seq, []).append(frame.time)
        parts: list[_Part] = []
        for seq, times in wanted.items():
            try:
                stored = await direct.get(self._client, names.MEDIA, seq=seq)
            except NotFoundError:
                continue
            if head := _head(stored):
                parts.append(_Part(stored, head, [(time - head.start).total_seconds() for time in times]))
        return await self._decode(parts) if parts else []

    # ---- finding

    async def _at(self, camera: str, instant: dt.datetime, until: dt.datetime, *, after: int) -> _Part | None:
        """The segment that holds `instant`, or else the first one after it that starts before `until`, or None.

        after: sequence of a segment that is known to be earlier.
        """
        seq, since = None, instant - SLACK
        for _ in range(MOST_STEPS):
            try:
                stored = await direct.get(
                    self._client, names.MEDIA, subject=names.media(camera), seq=seq, since=None if seq else since
                )
            except NotFoundError:
                return None
            seq = stored.seq + 1
            head = _head(stored)
            if head is None or stored.seq <= after:
                continue
            part = _Part(stored, head, [max(0.0, (instant - head.start).total_seconds())])
            if part.end > instant:
                return part if head.start < until else None
        return None

    async def _last(self, camera: str) -> _Part | None:
        try:
            stored = await direct.get(self._client, names.MEDIA, subject=names.media(camera))
        except NotFoundError:
            return None
        head = _head(stored)
        return _Part(stored, head, []) if head else None

    async def _kept(self, seqs: list[int], count: int) -> list[int]:
        """The sequences that have not expired; all of them, unasked, where they are no more than `count`."""
        if len(seqs) <= count:
            return seqs
        try:
            oldest = await direct.get(self._client, names.MEDIA, subject="media.>", seq=1)
        except NotFoundError:
            return []
        return [seq for seq in seqs if seq >= oldest.seq]

    async def _none(self, camera: str, start: dt.datetime, end: dt.datetime) -> NoFootage:
        """Why there are no frames: the video has expired, or there was none."""
        try:
            oldest = await direct.get(self._client, names.MEDIA, subject="media.>", seq=1)
        except NotFoundError:
            oldest = None
        stretch = f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC"
        if oldest is None or oldest.time > end:
            return NoFootage("expired", f"the video of {stretch} is not kept in MEDIA any more: raise MEDIA_MAX_AGE_S")
        return NoFootage("no_video", f"camera {camera} gave no video from {stretch}")

    # ---- decoding

    async def _decode(self, parts: Sequence[_Part]) -> list[JpegFrame]:
        """Frames in order of time. A segment that can't be decoded is passed over, unless none can."""
        done = await asyncio.gather(*(self._frames(part) for part in parts), return_exceptions=True)
        frames: list[JpegFrame] = []
        problems: list[BadSegment] = []
        for result in done:
            if isinstance(result, BadSegment):
                problems.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                frames += result
        if not frames:
            raise problems[0]
        if problems:
            self._log.warning("segments passed over", count=len(problems), reason=str(problems[0]))
        return sorted(frames)

    async def _frames(self, part: _Part) -> list[JpegFrame]:
        head, within = part.head, (self._side, self._side)
        encoded = partial(self._encoded, part)
        return await self._segments.decode(
            head, part.stored.data, encoded, at=part.offsets, within=within, frames=head.frames
        )

    def _encoded(self, part: _Part, decoded: Decoded) -> list[JpegFrame]:
        return [
            JpegFrame(
                part.head.start + dt.timedelta(seconds=picture.offset),
                part.stored.seq,
                pictures.jpeg(picture.pixels),
            )
            for picture in decoded.pictures
        ]


def _head(stored: Stored) -> Segment | None:
    """A segment's headers; None for a replay, and for a message that is no segment."""
    try:
        return None if REPLAY_OF in stored.headers else from_headers(stored.headers)
    except BadSegment:
        return None
