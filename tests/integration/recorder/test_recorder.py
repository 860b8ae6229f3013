"""Video is recorded once, from keyframe to keyframe, despite the death of any process, and gaps are explained."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import av
import msgspec
import nats.errors
import pytest

from services.ingest.cutting.piece import Piece
from services.recorder.ledgers import Ledgers
from services.recorder.tails import Tails
from services.recorder.writing import Writer
from shared.bus.log import Log
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.segment import to_headers
from shared.recordings.records import Hole, Recorded
from tests.support.waiting import patience_s, until
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, seconds_of, world
from tidegate.chaos.disk import small_disk

__all__ = ["second", "world"]


def shown(world: World, file: Recorded) -> int:
    """Count the pictures of a file as any player sees it."""
    with av.open(str(world.store / file.key)) as video:
        return sum(1 for _ in video.decode(video=0))


@pytest.mark.slow
async def test_a_minute_is_a_playable_file(world: World, second: Sequence[Piece]) -> None:
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(130)))
    files, holes = await world.until_recorded(120)
    assert [file.segments for file in files[:2]] == [60, 60] and not holes
    assert shown(world, files[0]) == 60 * 25
    # A partial minute is closed once nothing more comes.
    files, holes = await world.until_recorded(130)
    assert [file.segments for file in files] == [60, 60, 10] and not holes
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_restart_continues_where_the_killed_one_stopped(world: World, second: Sequence[Piece]) -> None:
    """Kill it twenty times, at any moment, over the end of an hour, with three cameras."""
    cameras = ("a", "b", "c")
    chance = random.Random(1)
    published = 0
    row = filmed(second, range(20 * 40))
    for _ in range(20):
        recorder = world.recorder()
        for camera in cameras:
            await publish(world.admin, row[published : published + 40], camera)
        published += 40
        await asyncio.sleep(chance.uniform(0.3, 2.5))
        recorder.process.kill()
        await recorder.ended()
    last = world.recorder()
    for camera in cameras:
        end = (await world.admin.jetstream().get_last_msg(names.MEDIA, names.media(camera))).seq
        assert end is not None
        files, holes = await world.until_recorded(end, camera)
        assert seconds_of(files) == {piece.segment.start: 1 for piece in row}
        assert not holes
        assert sum(file.segments for file in files) == len(row)
    assert await last.end() == 0


@pytest.mark.slow
async def test_gaps_are_reported_with_their_cause(world: World, second: Sequence[Piece]) -> None:
    js = world.admin.jetstream()
    recorder = world.recorder()
    # The camera is away; ingest has dropped some; another connection.
    row = filmed(second, [*range(60), *range(90, 150)])
    row = [p._replace(segment=msgspec.structs.replace(p.segment, n=n)) for n, p in enumerate(row)]
    later = [
        p._replace(segment=msgspec.structs.replace(p.segment, n=p.segment.n - 30))
        for p in filmed(second, range(155, 215))
    ]
    again = filmed(second, range(60), epoch="e2", begin=BEGIN + s(230))
    await publish(world.admin, [*row, *later, *again])
    _, holes = await world.until_recorded(60 + 60 + 60 + 60)
    assert holes == [
        Hole(since=BEGIN + s(60), until=BEGIN + s(90), cause="camera"),
        Hole(since=BEGIN + s(150), until=BEGIN + s(155), cause="dropped", segments=5),
        Hole(since=BEGIN + s(215), until=BEGIN + s(230), cause="camera"),
    ]
    # MEDIA expires unrecorded segments.
    assert await recorder.end() == 0
    await publish(world.admin, filmed(second, range(60, 150), epoch="e2", begin=BEGIN + s(230)))
    await js.purge_stream(names.MEDIA, seq=240 + 31)
    recorder = world.recorder()
    _, holes = await world.until_recorded(240 + 90)
    assert holes[3:] == [Hole(since=BEGIN + s(290), until=BEGIN + s(320), cause="expired", segments=30)]
    assert "tidegate_recorder_segments_total" in await recorder.says("/metrics")
    assert 'outcome="expired"} 30' in await recorder.says("/metrics")
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_an_absent_or_full_store_loses_nothing(world: World, second: Sequence[Piece]) -> None:
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(70)))
    await world.until_recorded(60)
    away = world.store.with_name("away")
    world.store.rename(away)
    # A file in its place blocks the creation of a folder.
    world.store.write_text("")
    await publish(world.admin, filmed(second, range(70, 400)))
    await until(lambda: "recordings wait" in recorder.log)
    world.store.unlink()
    away.rename(world.store)
    files, holes = await world.until_recorded(400)
    assert seconds_of(files) == {BEGIN + s(n): 1 for n in range(400)} and not holes
    assert "recordings go on" in recorder.log
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_two_recorders_share_the_cameras_and_one_continues_alone(world: World, second: Sequence[Piece]) -> None:
    cameras = [f"cam-{n}" for n in range(6)]
    one, other = world.recorder(), world.recorder()
    row = filmed(second, range(190))
    for part in (row[:65], row[65:130], row[130:]):
        for camera in cameras:
            await publish(world.admin, part, camera)
        await asyncio.sleep(1)
    one.process.kill()
    await one.ended()
    end = 190 * len(cameras)
    for camera in cameras:
        last = (await world.admin.jetstream().get_last_msg(names.MEDIA, names.media(camera))).seq
        files, holes = await world.until_recorded(last or end, camera)
        assert seconds_of(files) == {piece.segment.start: 1 for piece in row} and not holes
    assert await other.end() == 0


@pytest.mark.slow
async def test_a_clock_that_steps_back_loses_no_recording(world: World, second: Sequence[Piece]) -> None:
    recorder = world.recorder()
    row = filmed(second, range(70))
    back = filmed(second, range(70, 140), begin=BEGIN - s(3600))
    forth = filmed(second, range(140, 210))
    await publish(world.admin, [*row, *back, *forth])
    files, _ = await world.until_recorded(210)
    assert seconds_of(files) == {piece.segment.start: 1 for piece in (*row, *back, *forth)}
    assert files == sorted(files, key=lambda file: file.start)
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_damaged_video_harms_no_other(world: World, second: Sequence[Piece]) -> None:
    recorder = world.recorder()
    row = filmed(second, range(70))
    spoiled = [p._replace(payload=os.urandom(len(p.payload)) if 10 <= n < 13 else p.payload) for n, p in enumerate(row)]
    await publish(world.admin, spoiled, "bad")
    await world.admin.jetstream().publish(names.media("worse"), b"nothing", headers={"Camera": "worse"})
    await publish(world.admin, row, "good")
    files, holes = await world.until_recorded(2 * 70 + 1, "good")
    assert sum(file.segments for file in files) == 70 and not holes
    files, holes = await world.until_recorded(70, "bad")
    assert sum(file.segments for file in files) == 67
    assert holes == [Hole(since=BEGIN + s(10), until=BEGIN + s(13), cause="damaged", segments=3)]
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_policy_never_records_nothing_until_requested(world: World, second: Sequence[Piece]) -> None:
    policies = await world.admin.jetstream().key_value(names.RECORDINGS)
    await policies.put("camera.cam", b'{"record": "never"}')
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(70)))
    await publish(world.admin, filmed(second, range(70)), "other")
    await world.until_recorded(140, "other")
    assert await world.recorded() == ([], [])
    await policies.put("camera.cam", b'{"record": "always"}')
    files, _ = await world.until_recorded(70)
    assert sum(file.segments for file in files) == 70
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_unwanted_video_is_not_a_loss(world: World, second: Sequence[Piece]) -> None:
    policies = await world.admin.jetstream().key_value(names.RECORDINGS)
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(60)))
    await world.until_recorded(60)
    await policies.put("default", b'{"record": "never"}')
    async with asyncio.timeout(patience_s()):
        while not (await world.ledger()).off:
            await asyncio.sleep(0.1)
    await publish(world.admin, filmed(second, range(60, 120)))
    await world.admin.jetstream().purge_stream(names.MEDIA)
    await policies.put("default", b'{"record": "always"}')
    await publish(world.admin, filmed(second, range(120, 180)))
    _, holes = await world.until_recorded(180)
    assert holes == [Hole(since=BEGIN + s(60), until=BEGIN + s(120), cause="policy", segments=60)]
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_server_restart_costs_nothing(world: World, second: Sequence[Piece]) -> None:
    """The recorder learns of segments that were stored during its outage."""
    recorder = world.recorder()
    row = filmed(second, range(260))
    await publish(world.admin, row[:65])
    await world.until_recorded(60)
    for n in range(3):
        await world.server.stop(signal.SIGKILL)
        await world.server.start()
        async with asyncio.timeout(patience_s()):
            while True:
                try:
                    await publish(world.admin, row[65 * (n + 1) : 65 * (n + 2)])
                    break
                except (TimeoutError, nats.errors.Error):
                    await asyncio.sleep(0.2)
    files, holes = await world.until_recorded(260)
    assert seconds_of(files) == {piece.segment.start: 1 for piece in row} and not holes
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_segment_published_twice_is_recorded_once(world: World, second: Sequence[Piece]) -> None:
    """By an ingest beyond the deduplication window of MEDIA, and as a replayed dead letter."""
    recorder = world.recorder()
    row = filmed(second, range(130))
    await publish(world.admin, row[:40])
    for piece, more in ((row[20], {REPLAY_OF: "x"}), (row[39], {}), (row[38], {})):
        headers = {k: v for k, v in to_headers(piece.segment).items() if k != "Nats-Msg-Id"}
        await world.admin.jetstream().publish(names.media("cam"), piece.payload, headers=headers | more)
    await publish(world.admin, row[40:])
    files, holes = await world.until_recorded(133)
    assert seconds_of(files) == {piece.segment.start: 1 for piece in row} and not holes
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_full_disk_loses_nothing(world: World, second: Sequence[Piece], tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mb=64) as disk:
        if disk is None:
            pytest.skip("no file system may be mounted here: run the tests as root")
        world.keep_in(disk.path / "recordings")
        recorder = world.recorder(RECORDER_FREE="0")
        await publish(world.admin, filmed(second, range(70)))
        await world.until_recorded(60)
        disk.fill()
        await publish(world.admin, filmed(second, range(70, 200)))
        await recorder.until_it_says("/readyz", "^recordings wait: the folder of recordings .* is full")
        disk.fill()
        disk.free()
        files, holes = await world.until_recorded(200)
        assert seconds_of(files) == {BEGIN + s(n): 1 for n in range(200)} and not holes
        await recorder.until_it_says("/readyz", "^ok")
        assert not [*world.store.rglob("*.part")]
        assert await recorder.end() == 0


async def test_a_recorder_that_missed_updates_records_nothing_again(world: World, second: Sequence[Piece]) -> None:
    """It takes over a camera whose previous recorder has recorded segments it does not know."""
    js = world.admin.jetstream()
    kv = await js.key_value(names.RECORDER)

    def writer(tails: Tails) -> Writer:
        return Writer(world.admin, world.library, Ledgers(js, kv), tails, idle_s=0)

    await publish(world.admin, filmed(second, range(70)))
    behind = Tails(world.admin)
    async with Log(world.admin, names.MEDIA) as log:
        await behind.learn(log, "cam", 1)
        await publish(world.admin, filmed(second, range(70), epoch="e2", begin=BEGIN + s(70)))
        first, then = writer(Tails(world.admin)), writer(behind)
        for _ in range(6):
            await first.write(log, "cam")
        recorded = await world.recorded()
        assert sum(file.segments for file in recorded[0]) == 140
        for _ in range(4):
            await then.write(log, "cam")
        assert await world.recorded() == recorded


@pytest.mark.slow
async def test_a_recreated_media_stream_is_recorded_from_its_start(world: World, second: Sequence[Piece]) -> None:
    js = world.admin.jetstream()
    await publish(world.admin, filmed(second, range(70)))
    recorder = world.recorder()
    await world.until_recorded(70)
    config = (await js.stream_info(names.MEDIA)).config
    await js.delete_stream(names.MEDIA)
    await js.add_stream(config)
    await publish(world.admin, filmed(second, range(40), epoch="e2", begin=BEGIN + s(100)))
    async with asyncio.timeout(patience_s()):
        while (last := (await world.ledger()).last) is None or last.epoch != "e2" or last.n < 39:
            await asyncio.sleep(0.1)
    files, _ = await world.recorded()
    assert sum(file.segments for file in files) == 110
    assert await recorder.end() == 0
