"""What was followed on a camera, as a video."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.bus.requests import NobodyAnswers
from shared.client import recordings, rules
from shared.client.tracks import Followed, Stretch
from shared.contract import names, segment
from shared.contract.rules import Rules
from shared.runtime.errors import BadSegment, Refusal, SettingError
from shared.video import decode as media
from shared.video import fmp4, gop
from tidegate.client.files import written
from tidegate.drawing.painter import Painter

# A clip is no longer than this.
MOST_S = 600.0
# A segment begins up to so much before what is asked for, and is stored when it has ended.
SLACK = dt.timedelta(seconds=2)
_H264 = {"preset": "veryfast", "crf": "23"}


def check_length(stretch: Stretch) -> None:
    """Raises SettingError if it is too long for a clip."""
    if (stretch.until - stretch.since).total_seconds() > MOST_S:
        raise SettingError(f"--save can have {MOST_S:.0f} s at most: give a later --since, or an earlier --until")


async def film(
    client: Client, stretch: Stretch, found: Sequence[Followed], path: Path, tell: Callable[[str], None]
) -> float:
    """Write the video, with rules and tracks over it; seconds written. The file is whole or not there.

    tell: is told how far it is. Raises SettingError if there is no video of that time, or the file can't be written.
    """
    try:
        known = await rules.get(client, stretch.camera)
    except SettingError:
        known = Rules()
    painter = Painter(found, known)
    total = (stretch.until - stretch.since).total_seconds()
    with written(path) as part:
        writer = _Writer(part)

        def draw(time: dt.datetime, pixels: Any) -> None:
            writer.add(time, painter.paint(pixels, time))

        try:
            async for time, pixels in _frames(client, stretch):
                tell(f"drawing {path.name}: {(time - stretch.since).total_seconds():.0f} of {total:.0f} s")
                await asyncio.to_thread(draw, time, pixels)
            if not writer.frames:
                raise SettingError(
                    f"there is no video of {stretch.camera} of that time: MEDIA keeps the last ten minutes, and "
                    "'tidegate up --record' what is longer ago"
                )
            return writer.finish()
        finally:
            writer.close()


class _Coded(NamedTuple):
    """Video of then. before: what is decoded before it. frames: how many it has."""

    start: dt.datetime
    seconds: float
    payload: bytes
    before: Sequence[bytes]
    frames: int


async def _frames(client: Client, stretch: Stretch) -> AsyncIterator[tuple[dt.datetime, Any]]:
    """(time, RGB pixels) of every frame of that time that is kept."""
    async with aclosing(_coded(client, stretch)) as row:
        async for one in row:
            at = [k * one.seconds / one.frames for k in range(one.frames)]
            try:
                decoded = await asyncio.to_thread(
                    media.decode, one.payload, at=at, before=one.before, frames=one.frames
                )
            except BadSegment:
                continue
            for picture in decoded.pictures:
                time = one.start + dt.timedelta(seconds=picture.offset)
                if stretch.since <= time <= stretch.until:
                    yield time, picture.pixels


async def _coded(client: Client, stretch: Stretch) -> AsyncGenerator[_Coded, None]:
    """All that MEDIA has of that time; where it has let the beginning go, all that is recorded, and what is not yet."""
    async with aclosing(_media(client, stretch)) as row:
        first = await anext(row, None)
        if first is None or first.start > stretch.since + SLACK:
            is_recorded = False
            async for one in _recorded(client, stretch):
                is_recorded = True
                yield one
            if is_recorded:
                return
        if first is not None:
            yield first
        async for one in row:
            yield one


async def _media(client: Client, stretch: Stretch) -> AsyncGenerator[_Coded, None]:
    subject = names.media(stretch.camera)
    js = client.jetstream()
    try:
        # Stored after it was filmed: what begins before the stretch may be stored in it.
        seq = (await direct.get(client, names.MEDIA, subject=subject, since=stretch.since)).seq
    except NotFoundError:
        return
    while True:
        try:
            stored = await direct.get(client, names.MEDIA, subject=subject, seq=seq)
        except NotFoundError:
            return
        seq = stored.seq + 1
        try:
            head = segment.from_headers(stored.headers)
            if head.start > stretch.until:
                return
            before = await gop.earlier(js, head)
        except BadSegment:
            continue
        yield _Coded(head.start, head.duration, stored.data, before, head.frames)


async def _recorded(client: Client, stretch: Stretch) -> AsyncGenerator[_Coded, None]:
    """Nothing where no recorder answers. Raises TidegateError where it goes away meanwhile."""
    camera, head, headed = stretch.camera, b"", ""
    try:
        plays = (await recordings.between(client, camera, stretch.since, stretch.until)).plays
    except (NobodyAnswers, Refusal):
        return
    for play in plays:
        if play.headed != headed:
            head, headed = await recordings.head(client, camera, play), play.headed
        payload = head + await recordings.group(client, camera, play)
        try:
            frames = sum(len(fragment.samples) for fragment in fmp4.read(payload).fragments)
        except BadSegment:
            continue
        yield _Coded(play.start, play.seconds, payload, (), frames)


class _Writer:
    """H.264 in MP4, each frame at its own time. Raises OSError where the file can't be written."""

    def __init__(self, path: Path) -> None:
        self.frames = 0
        # Whoever is interrupted closes while a thread may still paint or encode: that must find it closed.
        self._lock = threading.Lock()
        self._closed = False
        with _writing():
            self._out = av.open(str(path), "w", format="mp4")
        self._stream: Any = None
        self._first = self._last = dt.datetime.min

    def add(self, time: dt.datetime, pixels: Any) -> None:
        with self._lock:
            if not self._closed:
                self._add(time, pixels)

    def _add(self, time: dt.datetime, pixels: Any) -> None:
        if self._stream is None:
            self._stream = self._out.add_stream("libx264", rate=30, options=_H264)
            self._stream.height, self._stream.width = (n // 2 * 2 for n in pixels.shape[:2])
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, 1000)
            self._first = self._last = time - dt.timedelta(milliseconds=1)
        if time <= self._last:
            return
        picture = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
            self._stream.width, self._stream.height, "yuv420p"
        )
        picture.pts, picture.time_base = round((time - self._first).total_seconds() * 1000) - 1, Fraction(1, 1000)
        with _writing():
            self._out.mux(self._stream.encode(picture))
        self.frames += 1
        self._last = time

    def finish(self) -> float:
        """Seconds. The file is whole after that."""
        with _writing():
            self._out.mux(self._stream.encode(None))
            self._out.close()
        return (self._last - self._first).total_seconds()

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError, av.FFmpegError):
            self._closed = True
            self._out.close()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """PyAV opens the file with the first frame that is written."""
    try:
        yield
    except av.FFmpegError as e:
        raise OSError(e.errno, e.strerror) from e
