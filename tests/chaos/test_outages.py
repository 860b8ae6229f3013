"""Outages of the server with several processes that share the cameras: no video is lost while buffers hold it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable

import pytest
from nats.aio.client import Client

from shared.contract import names
from tests.support.processes.ingest_process import Ingest, add, start
from tests.support.waiting import until
from tests.support.worlds.ingest_fleet import (
    CAMERAS,
    PATIENT_S,
    all_online,
    all_stored_after,
    assert_nothing_is_missing,
    assert_whole,
    camera,
    moving,
    shared_out,
    slow_to_answer,
    stored,
)
from tidegate.chaos.network_proxy import NetworkProxy
from tidegate.local.server import NatsServer

__all__ = ["camera", "start"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "away_s"),
    [
        (2, 7),
        *(pytest.param(n, s, marks=pytest.mark.long) for n in (2, 3) for s in (7, 12, 25, 60) if (n, s) != (2, 7)),
    ],
)
async def test_an_outage_of_the_server_loses_no_video(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str, count: int, away_s: float
) -> None:
    """Each took the cameras of the others, whose leases the server had let run out, and threw its own buffers away."""
    ingests = [start(INGEST_TIMEOUT_S=PATIENT_S) for _ in range(count)]
    epochs = await shared_out(admin, ingests, camera)
    await server.stop(signal.SIGKILL)
    await asyncio.sleep(away_s)
    await server.start()
    await assert_nothing_is_missing(admin, epochs)


@pytest.mark.slow
async def test_an_outage_while_cameras_move_loses_no_video(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """An ingest with too many cameras once gave some up, and no other could take them until the server was back."""
    ingest = start(INGEST_TIMEOUT_S=PATIENT_S)
    epochs = await shared_out(admin, [ingest], camera)
    # Another process that is there, and takes nothing.
    await (await admin.jetstream().key_value(names.LEASES)).put("process.other-1-ab", b"other-1-ab/60")
    await asyncio.sleep(3)
    await server.stop(signal.SIGKILL)
    await asyncio.sleep(7)
    await server.start()
    await assert_nothing_is_missing(admin, epochs)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
@pytest.mark.parametrize("segment_s", [1, 5])
async def test_a_camera_that_moves_is_filmed_until_its_new_ingest_has_video(
    admin: Client, start: Callable[..., Ingest], camera: str, segment_s: int
) -> None:
    """Its ingest once gave it up when another took it, or at its own stop.

    More than two seconds were missing, in which the other connected. A later version lost up to half a segment of
    cameras with closer keyframes.
    """
    settings = {"INGEST_TIMEOUT_S": PATIENT_S, "INGEST_SEGMENT_S": str(segment_s)}
    async with slow_to_answer(camera) as url:
        first = start(**settings)
        await shared_out(admin, [first], url)
        second = start(**settings)
        await all_online(first, second)
        await all_stored_after(admin, time.time())
        assert [i.metric("tidegate_ingest_dropped_segments_total") for i in (first, second)] == [0, 0]
        assert await asyncio.to_thread(first.stop) == 0
        await all_stored_after(admin, time.time())
        assert second.metric("tidegate_ingest_dropped_segments_total") == 0
        found = await stored(admin)
        assert await asyncio.to_thread(second.stop) == 0
    assert_whole(found)
    assert len({(s.camera, s.epoch) for s in found}) == 2 * len(CAMERAS), "each has moved once"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_cameras_that_move_twice_are_filmed_once(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The second of three ingests offered cameras that it had not begun with: it and the first stored them both."""
    async with slow_to_answer(camera, delay_s=1.5) as url:
        ingests = [start(INGEST_TIMEOUT_S=PATIENT_S)]
        await shared_out(admin, ingests, url)
        for _ in range(2):
            ingests.append(start(INGEST_TIMEOUT_S=PATIENT_S))
            await until(lambda: ingests[-1].metric("tidegate_ingest_cameras_owned"))
            await asyncio.sleep(3)
        await all_online(*ingests)
        await all_stored_after(admin, time.time())
        assert sum(i.metric("tidegate_ingest_dropped_segments_total") for i in ingests) == 0
        found = await stored(admin)
        for ingest in ingests:
            assert await asyncio.to_thread(ingest.stop) == 0
    assert_whole(found)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
@pytest.mark.parametrize("away_s", [pytest.param(s, marks=pytest.mark.long) for s in (12, 45)])
async def test_an_outage_while_the_next_ingest_connects_loses_no_video(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str, away_s: float
) -> None:
    """The holder once gave the cameras up after ten seconds.

    It stored its buffer, as the next ingest did; or dropped what it could not store, without counting that.
    """
    async with slow_to_answer(camera) as url:
        first, second = await moving(admin, start, url)
        assert not second.metric("tidegate_ingest_cameras_online")
        await server.stop(signal.SIGKILL)
        await asyncio.sleep(away_s)
        await server.start()
        await until(lambda: admin.is_connected)
        await all_online(first, second)
        await all_stored_after(admin, time.time())
        assert [i.metric("tidegate_ingest_dropped_segments_total") for i in (first, second)] == [0, 0]
        found = await stored(admin)
        for ingest in (second, first):
            assert await asyncio.to_thread(ingest.stop) == 0
    assert_whole(found)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
@pytest.mark.parametrize("frozen", [0, 1], ids=["who has them", "who takes them"])
@pytest.mark.parametrize("frozen_s", [3, 12])
async def test_a_frozen_ingest_stores_nothing_twice_while_cameras_move(
    admin: Client, start: Callable[..., Ingest], camera: str, frozen: int, frozen_s: float
) -> None:
    """The new ingest once stored video until the end of its lease, though the other had the cameras again."""
    async with slow_to_answer(camera) as url:
        ingests = await moving(admin, start, url)
        ingests[frozen].process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(frozen_s)
        ingests[frozen].process.send_signal(signal.SIGCONT)
        await all_online(*ingests)
        await all_stored_after(admin, time.time())
        assert ingests[1].metric("tidegate_ingest_dropped_segments_total") == 0
        found = await stored(admin)
        for ingest in ingests:
            assert await asyncio.to_thread(ingest.stop) == 0
    # A frozen holder could not film, and no other ingest could know before the end of its lease.
    assert_whole(found, missing_s=frozen_s if frozen == 0 and frozen_s > 5 else 0.3)


@pytest.mark.slow
async def test_a_camera_with_a_limit_of_one_connection_moves(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """Its new ingest is refused as long as the old one films."""
    async with contextlib.AsyncExitStack() as opened:
        for name in CAMERAS:
            way = await opened.enter_async_context(NetworkProxy(camera, most=1))
            await add(admin, name, f"{way.url}/{camera.rpartition('/')[2]}")
        first = start(INGEST_TIMEOUT_S=PATIENT_S)
        await until(lambda: first.metric("tidegate_ingest_cameras_online") == len(CAMERAS))
        second = start(INGEST_TIMEOUT_S=PATIENT_S)
        half = len(CAMERAS) / 2
        await until(lambda: [i.metric("tidegate_ingest_cameras_online") for i in (first, second)] == [half, half])
        assert await asyncio.to_thread(first.stop) == 0
        await all_stored_after(admin, time.time())
        assert second.stop() == 0
    assert "camera offline" not in first.log


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("hung_s", [4, 12])
async def test_a_hung_server_loses_no_video(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str, hung_s: float
) -> None:
    ingests = [start(INGEST_TIMEOUT_S=PATIENT_S) for _ in range(2)]
    epochs = await shared_out(admin, ingests, camera)
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    await asyncio.sleep(hung_s)
    os.kill(server.pid, signal.SIGCONT)
    await assert_nothing_is_missing(admin, epochs)


@pytest.mark.slow
@pytest.mark.long
async def test_a_disconnected_ingest_stores_the_video_of_its_lease(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """It once dropped all of its video, and the other one began only once the lease had expired."""
    async with NetworkProxy(server.url) as way:
        ingests = [start(INGEST_TIMEOUT_S=PATIENT_S, NATS_URL=way.url), start(INGEST_TIMEOUT_S=PATIENT_S)]
        await shared_out(admin, ingests, camera)
        cut_off, other = ingests
        cut_at = time.time()
        way.cut()
        await until(lambda: other.metric("tidegate_ingest_cameras_online") == len(CAMERAS))
        # Long enough that the one that is cut off films what is the other's.
        taken_at = time.time()
        await all_stored_after(admin, taken_at + 2)
        way.mend()
        dropped = "tidegate_ingest_dropped_segments_total"
        await until(
            lambda: cut_off.metric(dropped, cause="lease_lost") and cut_off.metric("tidegate_ingest_cameras_owned")
        )
        for ingest in ingests:
            assert await asyncio.to_thread(ingest.stop) == 0
        found = await stored(admin)
        for name in CAMERAS:
            tracks = [
                [s for s in found if (s.camera, s.epoch) == (name, e)]
                for e in {s.epoch for s in found if s.camera == name}
            ]
            spans = sorted((t[0].start.timestamp(), max(s.start.timestamp() + s.duration for s in t)) for t in tracks)
            assert all([s.n for s in t] == list(range(len(t))) for t in tracks)
            twice_s = [a[1] - b[0] for a, b in itertools.pairwise(spans)]
            assert all(t <= 1.1 for t in twice_s), (name, twice_s)
            assert any(a[0] < cut_at < a[1] for a in spans), "of what came after the cut, too"
