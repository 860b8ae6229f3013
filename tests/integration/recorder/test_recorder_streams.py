"""A camera with a substream is recorded from its main stream, and from the substream while that is away."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from itertools import groupby

import av
import pytest

from services.ingest.cutting.piece import Piece
from services.recorder.ledgers import Ledgers
from services.recorder.tails import Tails
from services.recorder.writing import Writer
from shared.bus.log import Log
from shared.client import recordings
from shared.contract import names
from shared.recordings.records import Recorded
from tests.support.waiting import patience_s
from tests.support.worlds.recorder_world import (
    BEGIN,
    World,
    filmed,
    publish,
    s,
    second,
    seconds_of,
    small,
    world,
)

__all__ = ["second", "small", "world"]

LARGE, SMALL = 320, 160


async def send(world: World, main: Sequence[Piece], substream: Sequence[Piece]) -> int:
    """Publish two streams by time, the substream's segment of a second first; return the last sequence."""
    row = sorted([(one.segment.start, False, one) for one in substream] + [(p.segment.start, True, p) for p in main])
    seq = 0
    for _, is_main, piece in row:
        seq = await publish(world.admin, [piece], main=is_main)
    return seq


def widths(files: Sequence[Recorded]) -> list[tuple[int, int]]:
    """Return (width, seconds) of consecutive files."""
    row = [(file.width, len(file.groups)) for file in files]
    return [(width, sum(n for _, n in group)) for width, group in groupby(row, lambda one: one[0])]


async def story(world: World, second: Sequence[Piece], small: Sequence[Piece]) -> int:
    """A substream is set after 30 s; the main stream is away from 70 s to 100 s; the substream is unset after 130 s."""
    await publish(world.admin, filmed(second, range(30), epoch="one"))
    main = [
        *filmed(second, range(40), epoch="two", begin=BEGIN + s(30)),
        *filmed(second, range(30), epoch="four", begin=BEGIN + s(100)),
    ]
    await send(world, main, filmed(small, range(100), epoch="three", begin=BEGIN + s(30)))
    return await publish(world.admin, filmed(second, range(30), epoch="five", begin=BEGIN + s(130)))


@pytest.mark.slow
async def test_every_second_is_recorded_once_whatever_changes(
    world: World, second: Sequence[Piece], small: Sequence[Piece]
) -> None:
    recorder = world.recorder()
    files, holes = await world.until_recorded(await story(world, second, small))
    assert seconds_of(files) == {BEGIN + s(n): 1 for n in range(160)} and not holes
    assert widths(files) == [(LARGE, 70), (SMALL, 30), (LARGE, 60)]
    assert await recorder.end() == 0


async def test_a_recorder_that_starts_anywhere_records_the_same(
    world: World, second: Sequence[Piece], small: Sequence[Piece]
) -> None:
    """Each window by a process of its own, which knows nothing but the ledger."""
    js = world.admin.jetstream()
    kv = await js.key_value(names.RECORDER)
    last = await story(world, second, small)
    async with Log(world.admin, names.MEDIA) as log:
        while (await world.ledger()).position <= last:
            writer = Writer(world.admin, world.library, Ledgers(js, kv), Tails(world.admin), idle_s=0)
            await writer.write(log, "cam")
    files, holes = await world.recorded()
    assert seconds_of(files) == {BEGIN + s(n): 1 for n in range(160)} and not holes
    assert widths(files) == [(LARGE, 70), (SMALL, 30), (LARGE, 60)]


async def test_the_end_of_a_substream_waits_for_nothing(
    world: World, second: Sequence[Piece], small: Sequence[Piece]
) -> None:
    """Both end, the substream a second later: the main stream showed the rest."""
    js = world.admin.jetstream()
    last = await send(world, filmed(second, range(10), epoch="m"), filmed(small, range(11), epoch="s"))
    tails, ledgers = Tails(world.admin), Ledgers(js, await js.key_value(names.RECORDER))
    async with Log(world.admin, names.MEDIA) as log:
        for _ in range(3):
            await Writer(world.admin, world.library, ledgers, tails, idle_s=0).write(log, "cam")
    assert (await world.ledger()).position == last + 1 and not tails.has_heads("cam")
    files, holes = await world.recorded()
    assert widths(files) == [(LARGE, 10)] and not holes


async def shown_live(world: World) -> list[int]:
    """Return the width of each group of pictures of seven seconds."""
    found = []
    for play in (await recordings.between(world.admin, "cam", BEGIN + s(2), BEGIN + s(9))).plays:
        with av.open(io.BytesIO(await recordings.alone(world.admin, "cam", play))) as video:
            found.append(video.streams.video[0].width)
    return found


@pytest.mark.slow
async def test_what_is_not_recorded_yet_is_the_main_stream(
    world: World, second: Sequence[Piece], small: Sequence[Piece]
) -> None:
    recorder = world.recorder(RECORDER_IDLE_S="300")
    await recorder.until_it_says("/readyz", "^ok")
    await send(world, filmed(second, range(20), epoch="m"), filmed(small, range(20), epoch="s"))
    async with asyncio.timeout(patience_s()):
        # The headers of both streams arrive one after the other.
        while await shown_live(world) != [LARGE] * 7:
            await asyncio.sleep(0.1)
    assert await recorder.end() == 0


async def test_masks_fit_the_main_stream(world: World, second: Sequence[Piece], small: Sequence[Piece]) -> None:
    """They are shares of the picture's width and height."""
    js = world.admin.jetstream()
    quarter = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))
    await send(world, filmed(second, range(3), epoch="m"), filmed(small, range(3), epoch="s"))
    ledgers = Ledgers(js, await js.key_value(names.RECORDER))
    writer = Writer(world.admin, world.library, ledgers, Tails(world.admin), idle_s=0, masks=lambda camera: (quarter,))
    async with Log(world.admin, names.MEDIA) as log:
        await writer.write(log, "cam")
    (file,), holes = await world.recorded()
    assert file.width == LARGE and not holes
    with av.open(str(world.store / file.key)) as video:
        shown = [frame.to_ndarray(format="gray")[:240] for frame in video.decode(video=0)]
    height, width = shown[0].shape
    assert all(one[: height // 2, : width // 2].max() <= 24 for one in shown)
    assert all(one[height // 2 + 8 :, width // 2 + 8 :].max() > 60 for one in shown)
