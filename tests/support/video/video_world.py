"""A camera's video in a real MEDIA, with the times of ingest. The fixtures here are imported by name."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.contract.segment import to_headers
from shared.runtime.tasks import end
from tests.support.video import footage
from tidegate.demo import clips as cut

FPS = 25


def s(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


async def publish(
    client: Client, pieces: Sequence[Piece], camera: str = "cam", late: float = 0.0, *, main: bool = False
) -> list[int]:
    """Publish as ingest does; return their sequences in MEDIA. main: as the main stream next to a substream."""
    seqs: dict[str, int] = {}
    for piece in pieces:
        key_seq = seqs[piece.gop] if piece.dependent else None
        start = piece.segment.start + s(late)
        segment = msgspec.structs.replace(piece.segment, key_seq=key_seq, camera=camera, start=start)
        subject = names.streams_of(camera)[main]
        ack = await client.jetstream().publish(subject, piece.payload, headers=to_headers(segment))
        seqs[piece.segment.message_id] = ack.seq
    return list(seqs.values())


def frames(video: bytes) -> list[tuple[float, np.ndarray]]:
    """Seconds and luma of every frame, in presentation order."""
    with av.open(io.BytesIO(video)) as container:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="gray")) for f in container.decode(video=0)]


def pixels(jpeg: bytes) -> np.ndarray:
    with av.open(io.BytesIO(jpeg)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def number(shown: np.ndarray, source: list[np.ndarray], near: int) -> int:
    """The number of the camera's frame in a picture of any width. near: the frames repeat after 51."""
    times = 320 // shown.shape[1]
    shown = np.kron(shown, np.ones((times, times, 1), int))
    first = max(0, near - 20)
    return first + int(np.argmin([np.abs(shown - frame).mean() for frame in source[first : near + 20]]))


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, in GOPs of four, with B-frames."""
    return footage.make(tmp_path_factory.mktemp("video") / "v.mp4", frames=250, gop=100, b_frames=2)


@pytest.fixture(scope="session")
def main_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same ten seconds in twice the size, in GOPs of two seconds."""
    return footage.make(tmp_path_factory.mktemp("video") / "m.mp4", size=(640, 480), frames=250, gop=50)


def dated(path: Path, ago_s: float = 60.0) -> list[Piece]:
    """A file's segments with times in the past: MEDIA has none before its end."""
    return [
        piece._replace(segment=msgspec.structs.replace(piece.segment, start=piece.segment.start - s(ago_s)))
        for piece in cut.pieces(path, "cam")
    ]


def at_the_times_of(pieces: Sequence[Piece], path: Path) -> list[Piece]:
    """Another stream's segments, by the same clock: of an epoch of its own."""
    found = dated(path)
    later = pieces[0].segment.start - found[0].segment.start
    return [
        piece._replace(segment=msgspec.structs.replace(piece.segment, start=piece.segment.start + later))
        for piece in found
    ]


@pytest.fixture
def pieces(path: Path) -> list[Piece]:
    found = dated(path)
    assert [piece.dependent for piece in found].count(False) == 3
    return found


@pytest.fixture
def main_pieces(main_path: Path, pieces: list[Piece]) -> list[Piece]:
    return at_the_times_of(pieces, main_path)


@pytest.fixture(scope="session")
def source(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]


@pytest.fixture(scope="session")
def main_source(main_path: Path) -> list[np.ndarray]:
    with av.open(str(main_path)) as container:
        return [f.to_ndarray(format="rgb24").astype(np.int16) for f in container.decode(video=0)]


def rounded(time: dt.datetime) -> dt.datetime:
    """The time, rounded as in headers."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


@pytest.fixture(scope="session")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], list[Piece]]:
    """Twelve segments of a second, each a GOP; of another epoch each time."""
    path = footage.make(tmp_path_factory.mktemp("video") / "s.mp4", frames=300)
    return lambda: dated(path)


class Camera:
    """Publishes a video with current times."""

    def __init__(self, admin: Client, pieces: list[Piece]) -> None:
        self._admin = admin
        self._pieces = pieces
        self.start = dt.datetime.now(dt.UTC)
        self.sent = 0

    async def run(self) -> None:
        """Publish each piece once, at its end: frame numbers must not repeat."""
        at, seqs = self.start, dict[str, int]()
        for piece in self._pieces:
            length = dt.timedelta(seconds=piece.segment.duration)
            await asyncio.sleep(max(0.0, (at + length).timestamp() - time.time()))
            key_seq = seqs[piece.gop] if piece.dependent else None
            segment = msgspec.structs.replace(piece.segment, start=at, key_seq=key_seq)
            ack = await self._admin.jetstream().publish(names.media("cam"), piece.payload, headers=to_headers(segment))
            seqs[piece.segment.message_id] = ack.seq
            at += length
            self.sent += 1


@contextlib.asynccontextmanager
async def filming(admin: Client, path: Path) -> AsyncIterator[Camera]:
    camera = Camera(admin, cut.pieces(path, "cam"))
    task = asyncio.create_task(camera.run())
    try:
        yield camera
    finally:
        await end(task)


def times(video: Path) -> list[float]:
    return [time for time, _ in frames(video.read_bytes())]


def nearest(jpeg: bytes, sent: Sequence[np.ndarray]) -> int:
    """The number of the sent frame that a picture shows."""
    shown = pixels(jpeg) @ [0.299, 0.587, 0.114]
    # Luma has 219 steps.
    differs = [abs(shown - (luma.astype(float) - 16) * 255 / 219).mean() for luma in sent]
    return differs.index(min(differs))
