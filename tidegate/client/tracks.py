"""`tidegate tracks`: what analytics followed, as a table, as a video, or as MOTChallenge has it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import click
import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from services.analytics.rules import Rules
from shared.bus import direct
from shared.bus.log import Log
from shared.contract import names, segment
from shared.contract.events import Tracks
from shared.runtime.errors import BadSegment, SettingError
from shared.video import decode as media
from shared.video import gop
from tidegate.client import rules
from tidegate.drawing.followed import Followed

# Tracks are told of after the video they are in: when they end, or wait for a segment that is missing.
LATER_S = 60.0
# Of a clip.
MOST_S = 600.0
_H264 = {"preset": "veryfast", "crf": "23"}


class Stretch(NamedTuple):
    camera: str
    since: dt.datetime
    until: dt.datetime


class Save(NamedTuple):
    """video, mot: files to write, if any. fps: of the frames that `mot` counts."""

    video: Path | None
    mot: Path | None
    fps: float


async def run(client: Client, stretch: Stretch, out: Console, *, as_json: bool, save: Save) -> None:
    """Print, and save what is to be saved. Raises TidegateError."""
    if stretch.since >= stretch.until:
        raise SettingError(f"--since {stretch.since:%H:%M:%S} is not before --until {stretch.until:%H:%M:%S}")
    if save.video:
        _check_length(stretch)
    found = await read(client, stretch)
    if as_json:
        for followed in found:
            click.echo(msgspec.json.encode({**msgspec.to_builtins(followed.last), "path": followed.path}).decode())
    else:
        out.print(_table(found) if found else f"nothing was followed on {stretch.camera} in that time")
    if save.mot:
        written = _write(save.mot, "\n".join(mot_lines(found, stretch.since, save.fps)) + "\n")
        click.echo(f"{save.mot}: {written} boxes", err=as_json)
    if save.video:
        seconds = await _video(client, stretch, found, save.video, out)
        click.echo(f"{save.video}: {seconds:.1f} s", err=as_json)


async def save_video(client: Client, stretch: Stretch, path: Path, out: Console) -> None:
    """Save what was followed in that time, and say so. Raises TidegateError."""
    _check_length(stretch)
    seconds = await _video(client, stretch, await read(client, stretch), path, out)
    out.print(f"what was followed, {seconds:.0f} s of it: {path}", soft_wrap=True, markup=False)


async def read(client: Client, stretch: Stretch) -> list[Followed]:
    """Tracks of that time, oldest first, each with that part of its path."""
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
                event = msgspec.json.decode(message.data, type=Tracks)
                size = (event.width, event.height) if event.width and event.height else None
                for track in event.tracks:
                    points = [p for p in track.path if stretch.since <= p.time <= stretch.until]
                    known = found.get(track.id)
                    if points or known:
                        found[track.id] = Followed(track, [*(known.path if known else ()), *points], size)
            seq = stored[-1].seq + 1
            if stored[-1].time > end:
                break
    return sorted(found.values(), key=lambda f: (f.last.first, f.last.id))


def mot_lines(found: Sequence[Followed], begin: dt.datetime, fps: float) -> Iterator[str]:
    """frame, id, left, top, width, height, score, -1, -1, -1.

    Frames from 1, which is at `begin`; pixels, or shares of the frame where its size is not known.
    """
    rows = []
    for number, followed in enumerate(found, 1):
        width, height = followed.size or (1, 1)
        for p in followed.path:
            frame = round((p.time - begin).total_seconds() * fps) + 1
            x1, y1, x2, y2 = (v * n for v, n in zip(p.box, (width, height) * 2, strict=True))
            rows.append((frame, number, x1, y1, x2 - x1, y2 - y1, followed.last.score if p.score is None else p.score))
    for frame, number, x, y, w, h, score in sorted(rows):
        yield f"{frame},{number},{x:.4f},{y:.4f},{w:.4f},{h:.4f},{score:.3f},-1,-1,-1"


def _table(found: Sequence[Followed]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("track", "label", "score", "seen at", "seconds", "frames", "speed", "zones", ""):
        # An id is of use as a whole alone.
        table.add_column(name, no_wrap=name in ("track", "seen at"))
    for track, path, _ in found:
        seconds = (track.last - track.first).total_seconds()
        state = "ended" if track.state == "end" else "still" if track.stationary else "moving"
        table.add_row(
            track.id,
            track.label,
            f"{track.score:.0%}",
            f"{track.first.astimezone():%H:%M:%S}",
            f"{seconds:.1f}",
            str(len(path)),
            f"{track.speed:.2f}/s",
            ", ".join(track.zones),
            state,
        )
    return table


def _write(path: Path, text: str) -> int:
    try:
        path.write_text(text)
    except OSError as e:
        raise SettingError(f"{path} can't be written: {e.strerror}") from e
    return text.count("\n")


# ---- the video


def _check_length(stretch: Stretch) -> None:
    if (stretch.until - stretch.since).total_seconds() > MOST_S:
        raise SettingError(f"--save can have {MOST_S:.0f} s at most: give a later --since, or an earlier --until")


async def _video(client: Client, stretch: Stretch, found: Sequence[Followed], path: Path, out: Console) -> float:
    """Seconds written. Raises SettingError if there is no video of that time, or the file can't be written."""
    try:
        from tidegate.drawing.painter import Painter
    except ImportError as e:
        raise SettingError(f"drawing needs what is not installed ({e.name}): pip install 'tidegate[demo]'") from e
    try:
        known = await rules.get(client, stretch.camera)
    except SettingError:
        known = Rules()
    painter = Painter(found, known)
    writer = _Writer(path)

    def draw(time: dt.datetime, pixels: Any) -> None:
        writer.add(time, painter.paint(pixels, time))

    try:
        with Progress(console=out, transient=True) as progress:
            task = progress.add_task("drawing", total=(stretch.until - stretch.since).total_seconds())
            async for time, pixels in _frames(client, stretch):
                progress.update(task, completed=(time - stretch.since).total_seconds())
                await asyncio.to_thread(draw, time, pixels)
        if not writer.frames:
            raise SettingError(f"MEDIA has no video of {stretch.camera} of that time: it keeps the last ten minutes")
        return writer.finish()
    finally:
        writer.close()


async def _frames(client: Client, stretch: Stretch) -> Any:
    """(time, RGB pixels) of every frame that MEDIA has of that time."""
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
            head = segment.from_headers(stored.headers)
        except NotFoundError:
            return
        except BadSegment:
            seq += 1
            continue
        seq = stored.seq + 1
        if head.start > stretch.until:
            return
        try:
            before = await gop.earlier(js, head)
            at = [k * head.duration / head.frames for k in range(head.frames)]
            decoded = await asyncio.to_thread(media.decode, stored.data, at=at, before=before, frames=head.frames)
        except BadSegment:
            continue
        for picture in decoded.pictures:
            time = head.start + dt.timedelta(seconds=picture.offset)
            if stretch.since <= time <= stretch.until:
                yield time, picture.pixels


class _Writer:
    """H.264 in MP4, each frame at its own time. Raises SettingError where the file can't be written."""

    def __init__(self, path: Path) -> None:
        self.frames = 0
        self._path = path
        with self._writing():
            self._out = av.open(str(path), "w", format="mp4")
        self._stream: Any = None
        self._first = self._last = dt.datetime.min

    def add(self, time: dt.datetime, pixels: Any) -> None:
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
        with self._writing():
            self._out.mux(self._stream.encode(picture))
        self.frames += 1
        self._last = time

    def finish(self) -> float:
        """Seconds. The file is whole after that."""
        with self._writing():
            self._out.mux(self._stream.encode(None))
            self._out.close()
        return (self._last - self._first).total_seconds()

    def close(self) -> None:
        with contextlib.suppress(OSError, av.FFmpegError):
            self._out.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """PyAV opens the file with the first frame that is written."""
        try:
            yield
        except (OSError, av.FFmpegError) as e:
            raise SettingError(f"--save {self._path} can't be written: {e.strerror}") from e
