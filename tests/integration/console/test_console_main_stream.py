"""Pictures and clips of a camera with a substream come from its main stream, where that has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client

from services.console.video.clips import Clip, Clips
from services.console.video.pictures import Pictures
from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.runtime.tasks import end
from shared.video.decoding.decoders import Decoders
from tests.support.video import footage
from tests.support.video.video_world import (
    at_the_times_of,
    frames,
    main_path,
    main_pieces,
    path,
    pieces,
    pixels,
    publish,
    rounded,
    s,
    seconds,
)

__all__ = ["main_path", "main_pieces", "path", "pieces", "seconds"]


@pytest_asyncio.fixture
async def pictures(admin: Client) -> AsyncIterator[Pictures]:
    decoders = Decoders(1)
    task = asyncio.create_task(decoders.run())
    yield Pictures(admin, decoders)
    await end(task)


async def width(clip: Clip) -> int:
    data = b"".join([bytes(buffer) async for buffer in clip.read()])
    return frames(data)[0][1].shape[1]


async def test_a_picture_is_of_the_main_stream_if_it_may_have_more_pixels(
    admin: Client, pictures: Pictures, pieces: list[Piece], main_pieces: list[Piece]
) -> None:
    await publish(admin, pieces)
    await publish(admin, main_pieces, main=True)
    time = pieces[0].segment.start + s(3.02)
    for wanted, got in ((1280, 640), (640, 640), (320, 320), (160, 160)):
        found = await pictures.picture("cam", time, width=wanted)
        assert pixels(found.jpeg).shape[1] == got
        assert abs((found.time - time).total_seconds()) < 0.05
    newest = await pictures.picture("cam", width=1280)
    keys = [piece.segment.start for piece in main_pieces if not piece.dependent]
    assert pixels(newest.jpeg).shape == (480, 640, 3) and newest.time == rounded(keys[-1])


async def test_the_newest_picture_is_no_old_one_of_the_main_stream(
    admin: Client, pictures: Pictures, pieces: list[Piece], main_pieces: list[Piece]
) -> None:
    old = [p._replace(segment=msgspec.structs.replace(p.segment, start=p.segment.start - s(30))) for p in main_pieces]
    await publish(admin, old, main=True)
    await publish(admin, pieces)
    assert pixels((await pictures.picture("cam", width=1280)).jpeg).shape == (240, 320, 3)


async def test_a_clip_is_of_the_main_stream(admin: Client, pieces: list[Piece], main_pieces: list[Piece]) -> None:
    await publish(admin, pieces)
    begin = pieces[0].segment.start
    assert await width(await Clips(admin, 256).clip("cam", begin + s(3), begin + s(9))) == 320
    await publish(admin, main_pieces, main=True)
    clip = await Clips(admin, 256).clip("cam", begin + s(3), begin + s(9))
    assert await width(clip) == 640 and clip.is_whole
    assert clip.since <= begin + s(3) and clip.until >= begin + s(9) - s(0.01)


@pytest.mark.parametrize("begins", [0, 1])
async def test_a_clip_is_of_the_stream_that_shows_more(
    admin: Client, seconds: Callable[[], list[Piece]], main_path: Path, begins: int
) -> None:
    """The main stream is away at the beginning, or at the end."""
    row = seconds()
    main = at_the_times_of(row, main_path)
    await publish(admin, row)
    half = main[: len(main) // 2] if begins == 0 else main[len(main) // 2 :]
    half = half[next(n for n, piece in enumerate(half) if not piece.dependent) :]
    await publish(admin, half, main=True)
    begin = row[0].segment.start
    assert await width(await Clips(admin, 256).clip("cam", begin, begin + s(10))) == 320
    inside = half[0].segment.start
    assert await width(await Clips(admin, 256).clip("cam", inside, inside + s(2))) == 640


@pytest.mark.slow
async def test_a_clip_over_the_limit_is_of_the_substream(
    admin: Client, seconds: Callable[[], list[Piece]], tmp_path: Path
) -> None:
    """A shorter clip in more pixels shows less."""
    row = seconds()
    large = footage.make(tmp_path / "l.mp4", size=(1280, 960), frames=250)
    main = at_the_times_of(row, large)
    assert sum(len(piece.payload) for piece in main) > 2 * 2**20 > sum(len(piece.payload) for piece in row)
    await publish(admin, row)
    await publish(admin, main, main=True)
    begin = row[0].segment.start
    clip = await Clips(admin, 2).clip("cam", begin, begin + s(10))
    assert await width(clip) == 320 and clip.is_whole


async def test_live_video_stays_on_the_substream(admin: Client, main_pieces: list[Piece]) -> None:
    """Nothing hears of the main stream but the recorder."""
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(getattr(message, "subject", ""))

    await admin.subscribe(names.stored(names.media(">")), cb=hear)
    await admin.flush()
    await publish(admin, main_pieces[:2], main=True)
    await admin.flush()
    assert heard == []
