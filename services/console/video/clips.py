"""A period of a camera's video as one MP4, streamed instead of held in memory.

    clip = await clips.clip("lobby", since, until)
    clip.size, clip.since, clip.until, clip.holes
    async for buffer in clip.read(first, last): ...       # or a range of it, for seeking browsers

Its segments are read once for the times and sizes of their frames, and again as they are sent. The result of the first
read is cached, because a player requests many ranges of the same clip.

A camera with a substream has clips of its main stream, unless the substream shows more of the period.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.console.video import recorder_video
from services.console.video.reading import SLACK, Hole, NoVideo, StoredSegment, holes, none_between, walk
from shared.bus import direct
from shared.client import recordings
from shared.contract import names
from shared.runtime.errors import BadSegment, Refusal
from shared.video import fmp4
from shared.video.fmp4 import Joined, Part, Span

MB = 2**20
LONGEST = dt.timedelta(hours=24)
# Concurrent scans; cached clips; seconds until an unused one leaves the cache.
_CONCURRENT, _CACHE_SIZE, _CACHE_S = 2, 16, 60.0


class Clip(NamedTuple):
    """pieces: its bytes, and spans of the payload that `payload` returns for a part's number. size: of all of them.

    since, until: what it shows, from a keyframe on. holes: periods without video in between. is_whole: whether it
    reaches the requested end, uncut. tag: identifies its content, for `ETag`.
    """

    pieces: Sequence[bytes | Span]
    size: int
    payload: Callable[[int], Awaitable[bytes]]
    since: dt.datetime
    until: dt.datetime
    holes: list[Hole]
    is_whole: bool
    tag: str

    async def read(self, first: int = 0, last: int | None = None) -> AsyncIterator[bytes | memoryview]:
        """Yield its bytes from `first` to `last`, inclusive; to the end if None.

        Raises NoVideo if a segment has expired meanwhile; nats.errors.Error or TimeoutError if the server does not
        answer.
        """
        end = self.size if last is None else min(last + 1, self.size)
        at, part, payload = 0, -1, memoryview(b"")
        for piece in self.pieces:
            size = piece.end - piece.begin if isinstance(piece, Span) else len(piece)
            begin, until = max(0, first - at), min(size, end - at)
            at += size
            if begin >= until:
                continue
            if isinstance(piece, Span):
                if piece.part != part:
                    part, payload = piece.part, memoryview(await self.payload(piece.part))
                yield payload[piece.begin + begin : piece.begin + until]
            else:
                yield piece[begin:until]


class _Row(NamedTuple):
    """Segments of one stream, without their payloads. size: bytes that were read. is_whole: none of them is missing."""

    stored: Sequence[StoredSegment] = ()
    parts: Sequence[Part] = ()
    size: int = 0
    is_whole: bool = True

    @property
    def shown(self) -> dt.timedelta:
        return sum((one.end - one.segment.start for one in self.stored), dt.timedelta())

    def shows_all_of(self, since: dt.datetime, until: dt.datetime) -> bool:
        """Whether it has no hole that matters."""
        if not self.stored or not self.is_whole:
            return False
        if self.stored[0].segment.start > since + SLACK or self.stored[-1].end < until - SLACK:
            return False
        return all(hole.until - hole.since <= SLACK for hole in holes(self.stored))


class Clips:
    """See the module. client: needs the right of direct get on MEDIA. most_mb: the limit of a clip, in MB."""

    def __init__(self, client: Client, most_mb: int) -> None:
        self._client = client
        self._most = most_mb * MB
        self._cache: dict[tuple[str, dt.datetime, dt.datetime], tuple[float, Clip]] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def clip(self, camera: str, since: dt.datetime, until: dt.datetime) -> Clip:
        """Return the video of [since, until), from the keyframe before it on.

        It ends earlier, at `until`, if it reaches the limit, or if the camera's codec or size changes. Raises NoVideo
        if there is none, Refusal for invalid times, and nats.errors.Error or TimeoutError if the server does not
        answer.
        """
        if not dt.timedelta() < until - since <= LONGEST:
            raise Refusal(400, f"a clip lasts up to {LONGEST // dt.timedelta(hours=1)} hours, and ends after it begins")
        key = (camera, since, until)
        async with self._slots:
            if key not in self._cache or time.monotonic() > self._cache[key][0]:
                self._cache[key] = 0.0, await self._assemble(camera, since, until)
        clip = self._cache.pop(key)[1]
        self._cache[key] = time.monotonic() + _CACHE_S, clip
        while len(self._cache) > _CACHE_SIZE:
            del self._cache[next(iter(self._cache))]
        return clip

    async def _assemble(self, camera: str, since: dt.datetime, until: dt.datetime) -> Clip:
        """Return the clip from recordings if MEDIA has not its beginning, else of the stream that shows more."""
        row = await self._longer(camera, since, until, by=since + SLACK)
        if not row.parts:
            if clip := await self._recorded(camera, since, until):
                return clip
            row = await self._longer(camera, since, until, by=until)
        if not row.parts:
            raise none_between(camera, since, until)
        joined = await asyncio.to_thread(fmp4.join, row.parts)
        return self._clip(camera, row.stored, joined, row.is_whole)

    async def _longer(self, camera: str, since: dt.datetime, until: dt.datetime, *, by: dt.datetime) -> _Row:
        """Return the segments of the main stream, or of the substream if that shows more. Raises Refusal."""
        row = await self._read(camera, since, until, by=by, main=True)
        if not row.shows_all_of(since, until):
            other = await self._read(camera, since, until, by=by, main=False)
            row = other if other.shown > row.shown + SLACK or not row.parts else row
        if row.size > self._most and not row.parts:
            raise Refusal(413, f"one segment is over {self._most // MB} MB, the limit of CONSOLE_CLIP_MAX_MB")
        return row

    async def _read(self, camera: str, since: dt.datetime, until: dt.datetime, *, by: dt.datetime, main: bool) -> _Row:
        """Return the segments of a period, up to the limit, and without those that can't be decoded.

        by: a stream that begins later has none. main: of the main stream of a camera with a substream.
        """
        stored: list[StoredSegment] = []
        parts: list[Part] = []
        size, is_whole, is_broken = 0, True, False
        async with aclosing(walk(self._client, camera, since, until, main=main)) as walking:
            async for one in walking:
                if not parts and one.segment.start > by:
                    break
                is_broken = is_broken and not one.segment.starts_gop
                try:
                    video = None if is_broken else fmp4.read(one.payload)
                except BadSegment:
                    video, is_broken = None, True
                if video is None:
                    continue
                size += len(one.payload)
                if size > self._most or (parts and not fmp4.same_track(parts[0].video, video)):
                    is_whole = False
                    break
                parts.append(Part(video, one.segment.start, one.segment.duration))
                stored.append(one._replace(payload=b""))
        return _Row(stored, parts, size, is_whole)

    def _clip(self, camera: str, stored: Sequence[StoredSegment], joined: Joined, is_whole: bool) -> Clip:
        seqs = tuple(one.seq for one in stored)

        async def payload(part: int) -> bytes:
            try:
                return (await direct.get(self._client, names.MEDIA, seq=seqs[part])).data
            except NotFoundError as e:
                raise NoVideo(f"the video of camera {camera} has expired while it was sent") from e

        since, until = stored[0].segment.start, stored[-1].end
        tag = _tag(camera, seqs, since, joined.size)
        return Clip(joined.pieces, joined.size, payload, since, until, holes(stored), is_whole, tag)

    async def _recorded(self, camera: str, since: dt.datetime, until: dt.datetime) -> Clip | None:
        """Return the clip from recordings; None if there are none."""
        found = await recorder_video.between(self._client, camera, since, until, self._most)
        if found is None:
            return None
        plays = found.plays
        opening = await recordings.opening(self._client, camera, plays)
        spans = [Span(n, 0, play.end - play.begin) for n, play in enumerate(plays)]

        async def payload(part: int) -> bytes:
            return await recordings.group(self._client, camera, plays[part])

        size = len(opening) + sum(span.end for span in spans)
        tag = _tag(camera, [(play.file, play.begin) for play in plays], plays[0].start, size)
        gaps = [Hole(hole.since, hole.until) for hole in found.holes]
        return Clip([opening, *spans], size, payload, plays[0].start, plays[-1].until, gaps, found.is_whole, tag)


def _tag(*shown: object) -> str:
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:32]
