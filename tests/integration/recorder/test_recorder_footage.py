"""Video of a time that MEDIA has expired: models and people get recordings in the form of segments."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

import pytest
from nats.aio.client import Client

from services.console.recordings.periods import RecordingPeriods
from services.console.video.clips import Clips
from services.console.video.pictures import Pictures
from services.ingest.cutting.piece import Piece
from services.vlm.frames.footage import Footage, NoFootage
from shared import bus
from shared.contract import names
from shared.runtime.tasks import end
from shared.video.decoding.decoders import Decoders
from tests.support.video.video_world import frames, nearest
from tests.support.waiting import until
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, world

__all__ = ["second", "world"]


async def vlm(world: World) -> Client:
    return await bus.connect(world.server.settings("vlm"), "vlm")


def offsets_of(found: Sequence[dt.datetime]) -> list[float]:
    return [round((time - BEGIN).total_seconds(), 2) for time in found]


@pytest.mark.slow
async def test_frames_of_a_recorded_time_are_read(world: World, second: Sequence[Piece]) -> None:
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(100)))
    await world.until_recorded(60)
    client = await vlm(world)
    footage = Footage(client, side=320, threads=1)
    # MEDIA has nothing of the first minute any more, and all of the rest.
    await world.admin.jetstream().purge_stream(names.MEDIA, seq=61)
    found = await footage.between("cam", BEGIN + s(10), BEGIN + s(90), 8)
    assert [frame.time for frame in found] == sorted({frame.time for frame in found}) and {f.seq for f in found} == {0}
    assert offsets_of([frame.time for frame in found]) == pytest.approx([10 + 10 * n + 5 for n in range(8)], abs=1)
    exact = await footage.between("cam", BEGIN + s(10), BEGIN + s(20), 2, also=[BEGIN + s(12.4), BEGIN + s(15.2)])
    assert offsets_of([frame.time for frame in exact]) == [12.4, 15.2]
    # It shows the camera's video of that second.
    sent = [luma for _, luma in frames(filmed(second, range(20))[12].payload)]
    assert nearest(exact[0].jpeg, sent) == 10
    await client.close()
    assert await recorder.end() == 0


async def test_without_a_recorder_expired_video_is_reported(world: World, second: Sequence[Piece]) -> None:
    await publish(world.admin, filmed(second, range(20)))
    await world.admin.jetstream().purge_stream(names.MEDIA)
    client = await vlm(world)
    with pytest.raises(NoFootage) as refused:
        await Footage(client, side=320, threads=1).between("cam", BEGIN, BEGIN + s(10), 2)
    assert refused.value.cause == "expired"
    await client.close()


@pytest.mark.slow
async def test_the_console_plays_and_shows_video_that_media_has_expired(world: World, second: Sequence[Piece]) -> None:
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(100)))
    await world.until_recorded(60)
    viewer = await bus.connect(world.server.settings("console-viewer"), "console-viewer")
    await world.admin.jetstream().purge_stream(names.MEDIA, seq=61)
    clip = await Clips(viewer, 256).clip("cam", BEGIN + s(30), BEGIN + s(90))
    data = b"".join([bytes(part) async for part in clip.read()])
    assert (clip.since, clip.until, clip.is_whole, clip.holes) == (BEGIN + s(30), BEGIN + s(90), True, [])
    assert len(data) == clip.size
    assert [time for time, _ in frames(data)] == pytest.approx([n / 25 for n in range(60 * 25)], abs=0.0011)
    part = b"".join([bytes(part) async for part in clip.read(1000, clip.size // 2)])
    assert part == data[1000 : clip.size // 2 + 1]
    decoders = Decoders(1)
    decoding = asyncio.create_task(decoders.run())
    picture = await Pictures(viewer, decoders).picture("cam", BEGIN + s(12.4), width=320)
    await end(decoding)
    assert offsets_of([picture.time]) == [12.4]
    sent = [luma for _, luma in frames(filmed(second, range(20))[12].payload)]
    assert nearest(picture.jpeg, sent) == 10
    keeping = RecordingPeriods(viewer)
    asking = asyncio.create_task(keeping.run())
    await until(lambda: keeping.has("cam", BEGIN + s(12.4)))
    assert not keeping.has("cam", BEGIN - s(3600)) and not keeping.has("other", BEGIN + s(12.4))
    await end(asking)
    await viewer.close()
    assert await recorder.end() == 0
