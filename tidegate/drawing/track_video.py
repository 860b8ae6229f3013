"""A camera's video with its tracks and rules drawn into it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from PIL import ImageDraw

from shared.bus import direct
from shared.bus.requests import NobodyAnswers
from shared.client import recordings, rules
from shared.client.tracks import Followed, Stretch
from shared.contract import names, segment
from shared.contract.events import Box, PathPoint
from shared.contract.rules import Rules
from shared.runtime.errors import BadSegment, Refusal, SettingError
from shared.video import decode as media
from shared.video import fmp4, gop
from tidegate.client.files import written
from tidegate.drawing.scene import Pixels, draw_box, draw_rules

# Maximum length of a clip.
MAX_S = 600.0
# A segment may start this long before the requested time: it is stored when it ends.
MARGIN = dt.timedelta(seconds=2)
_H264 = {"preset": "veryfast", "crf": "23"}


def check_length(stretch: Stretch) -> None:
    """Raise SettingError if the stretch is too long for a clip."""
    if (stretch.until - stretch.since).total_seconds() > MAX_S:
        raise SettingError(f"--save can have {MAX_S:.0f} s at most: give a later --since, or an earlier --until")


async def write_track_video(
    client: Client, stretch: Stretch, tracks: Sequence[Followed], path: Path, tell: Callable[[str], None]
) -> float:
    """Write the video with rules and tracks; return its seconds. The file is complete or does not exist.

    tell: receives the progress. Raise SettingError if that time has no video, or the file can't be written.
    """
    try:
        camera_rules = await rules.get(client, stretch.camera)
    except SettingError:
        camera_rules = Rules()
    painter = Painter(tracks, camera_rules)
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


class _EncodedVideo(NamedTuple):
    """A part of the video. before: segments to decode first. frames: number of frames."""

    start: dt.datetime
    seconds: float
    payload: bytes
    before: Sequence[bytes]
    frames: int


async def _frames(client: Client, stretch: Stretch) -> AsyncIterator[tuple[dt.datetime, Any]]:
    """Yield (time, RGB pixels) of every stored frame of the stretch."""
    async with aclosing(_encoded_video(client, stretch)) as parts:
        async for part in parts:
            at = [k * part.seconds / part.frames for k in range(part.frames)]
            try:
                decoded = await asyncio.to_thread(
                    media.decode, part.payload, at=at, before=part.before, frames=part.frames
                )
            except BadSegment:
                continue
            for picture in decoded.pictures:
                time = part.start + dt.timedelta(seconds=picture.offset)
                if stretch.since <= time <= stretch.until:
                    yield time, picture.pixels


async def _encoded_video(client: Client, stretch: Stretch) -> AsyncGenerator[_EncodedVideo, None]:
    """Yield the video of the stretch: from MEDIA, or from recordings if MEDIA has expired its start."""
    async with aclosing(_from_media(client, stretch)) as parts:
        first = await anext(parts, None)
        if first is None or first.start > stretch.since + MARGIN:
            is_recorded = False
            async for part in _from_recordings(client, stretch):
                is_recorded = True
                yield part
            if is_recorded:
                return
        if first is not None:
            yield first
        async for part in parts:
            yield part


async def _from_media(client: Client, stretch: Stretch) -> AsyncGenerator[_EncodedVideo, None]:
    subject = names.media(stretch.camera)
    js = client.jetstream()
    try:
        # A segment is stored after it was filmed, so one that starts before the stretch may be stored within it.
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
            header = segment.from_headers(stored.headers)
            if header.start > stretch.until:
                return
            earlier = await gop.earlier(js, header)
        except BadSegment:
            continue
        yield _EncodedVideo(header.start, header.duration, stored.data, earlier, header.frames)


async def _from_recordings(client: Client, stretch: Stretch) -> AsyncGenerator[_EncodedVideo, None]:
    """Yield recorded video; nothing if no recorder replies. Raise TidegateError if it stops meanwhile."""
    camera, header, init_id = stretch.camera, b"", ""
    try:
        plays = (await recordings.between(client, camera, stretch.since, stretch.until)).plays
    except (NobodyAnswers, Refusal):
        return
    for play in plays:
        if play.headed != init_id:
            header, init_id = await recordings.head(client, camera, play), play.headed
        payload = header + await recordings.group(client, camera, play)
        try:
            frames = sum(len(fragment.samples) for fragment in fmp4.read(payload).fragments)
        except BadSegment:
            continue
        yield _EncodedVideo(play.start, play.seconds, payload, (), frames)


class _Writer:
    """Writer of H.264 in MP4, with each frame at its own time. Raise OSError if the file can't be written."""

    def __init__(self, path: Path) -> None:
        self.frames = 0
        # An interrupt closes the file while a thread may still encode: the lock and flag make that thread stop.
        self._lock = threading.Lock()
        self._closed = False
        with _av_errors_as_os_errors():
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
        with _av_errors_as_os_errors():
            self._out.mux(self._stream.encode(picture))
        self.frames += 1
        self._last = time

    def finish(self) -> float:
        """Complete the file and return its seconds."""
        with _av_errors_as_os_errors():
            self._out.mux(self._stream.encode(None))
            self._out.close()
        return (self._last - self._first).total_seconds()

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError, av.FFmpegError):
            self._closed = True
            self._out.close()


@contextlib.contextmanager
def _av_errors_as_os_errors() -> Iterator[None]:
    """Raise errors of PyAV as OSError. PyAV opens the file with the first frame, so any write may fail."""
    try:
        yield
    except av.FFmpegError as e:
        raise OSError(e.errno, e.strerror) from e


class Painter:
    """Draws rules and tracks into the frames of one camera."""

    def __init__(self, tracks: Sequence[Followed], rules: Rules) -> None:
        self._tracks = tracks
        self._rules = rules

    def paint(self, pixels: Pixels, time: dt.datetime) -> Pixels:
        """Return the frame with rules and tracks. pixels: RGB, uint8, (height, width, 3)."""
        image = draw_rules(pixels, self._rules)
        draw = ImageDraw.Draw(image)
        for track, path, _ in self._tracks:
            box = box_at(path, time)
            if box is None:
                continue
            since = time - dt.timedelta(seconds=TRAIL_S)
            feet = [((p.box[0] + p.box[2]) / 2, p.box[3]) for p in path if since <= p.time <= time]
            draw_box(draw, image.size, box, track.id, f"{track.label} {track.id.rpartition('-')[2]}", feet)
        draw.text((8, 6), f"{time.astimezone():%H:%M:%S.%f}"[:-5], fill="white", stroke_width=2, stroke_fill="black")
        return np.asarray(image)


# Seconds to show a box after its last frame: more than a frame interval at 2 fps.
SHOWN_S = 0.6
TRAIL_S = 4.0


def box_at(path: Sequence[PathPoint], time: dt.datetime) -> Box | None:
    """Return the box, interpolated between a path's points; None before the first and after the last."""
    times = [p.time for p in path]
    i = bisect_right(times, time)
    if i == 0:
        return None
    last = path[i - 1]
    if i == len(path):
        return last.box if (time - last.time).total_seconds() <= SHOWN_S else None
    after = path[i]
    share = (time - last.time) / (after.time - last.time)
    return tuple(a + share * (b - a) for a, b in zip(last.box, after.box, strict=True))  # type: ignore[return-value]
