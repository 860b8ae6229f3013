"""What an outage of the server costs where several processes share the cameras: no video, while buffers hold it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.contract import names
from shared.contract import segment as segments
from shared.contract.segment import Segment
from tests import footage
from tests.ingest_process import Ingest, add, start
from tests.rtsp import serving
from tests.waiting import until
from tidegate.chaos.way import Way, late
from tidegate.local.server import NatsServer

__all__ = ["start"]

# A busy machine may keep a camera waiting: that it is connected to anew for that is tested elsewhere.
PATIENT_S = "60"
CAMERAS = [f"cam{i}" for i in range(6)]


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[str]:
    """URL of a camera without an end, with a keyframe a second."""
    folder = tmp_path / "cameras"
    folder.mkdir()
    footage.make(folder / "short.mp4", gop=25)
    with serving(folder, tmp_path / "rtsp.log") as url:
        yield f"{url}/short.mp4?play_count=0"


async def stored(admin: Client) -> list[Segment]:
    """All that MEDIA has, as it was stored."""
    js = admin.jetstream()
    state = (await js.stream_info("MEDIA")).state
    messages = [
        await js.get_msg("MEDIA", seq=n, direct=True) for n in range(max(1, state.first_seq), state.last_seq + 1)
    ]
    return [segments.from_headers(message.headers) for message in messages]


async def shared_out(admin: Client, ingests: list[Ingest], url: str) -> dict[str, str]:
    """Give each of them some of the cameras; the epoch of each camera, once all have stored video."""
    for name in CAMERAS:
        await add(admin, name, url)
    share = len(CAMERAS) / len(ingests)
    await until(lambda: all(i.metric("tidegate_ingest_cameras_online") == share for i in ingests))
    had = len(await stored(admin))
    while len(found := await stored(admin)) < had + 3 * len(CAMERAS):
        await asyncio.sleep(0.2)
    return {s.camera: s.epoch for s in found}


async def assert_nothing_is_missing(admin: Client, epochs: dict[str, str]) -> None:
    """Each kept its cameras and their connections, and all of their segments are stored once, in order."""
    await until(lambda: admin.is_connected)
    # Once video that was filmed now is stored, so is what was buffered before it.
    now = time.time()
    found: list[Segment] = []
    while {s.camera for s in found if s.start.timestamp() > now} != set(CAMERAS):
        await asyncio.sleep(0.5)
        found = await stored(admin)
    for name in CAMERAS:
        mine = [s for s in found if s.camera == name]
        assert mine[-1].epoch == epochs[name], "it was not connected to again"
        last = [s.n for s in mine if s.epoch == epochs[name]]
        assert last == list(range(len(last))), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "away_s"),
    [
        (2, 7),
        *(pytest.param(n, s, marks=pytest.mark.long) for n in (2, 3) for s in (7, 12, 25, 60) if (n, s) != (2, 7)),
    ],
)
async def test_a_server_that_was_away_costs_no_video(
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
async def test_nor_does_one_that_goes_away_while_cameras_move(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """Who had too many gave some up, and nobody could take them until the server was back."""
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
async def test_a_camera_that_moves_is_filmed_until_its_new_ingest_has_video(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """It was given up once another had taken it, or at the stop of its ingest: two seconds and more were missing, which
    the other took to connect.
    """
    path = camera.rpartition("/")[2]
    async with Way(camera, there=late(0.5)) as way:
        first = start(INGEST_TIMEOUT_S=PATIENT_S)
        await shared_out(admin, [first], f"{way.url}/{path}")
        second = start(INGEST_TIMEOUT_S=PATIENT_S)
        half = len(CAMERAS) / 2
        await until(lambda: [i.metric("tidegate_ingest_cameras_online") for i in (first, second)] == [half, half])
        await all_stored_after(admin, time.time())
        assert [i.metric("tidegate_ingest_dropped_segments_total") for i in (first, second)] == [0, 0]
        assert await asyncio.to_thread(first.stop) == 0
        await all_stored_after(admin, time.time())
        assert second.metric("tidegate_ingest_dropped_segments_total") == 0
        found = await stored(admin)
        assert second.stop() == 0
    for name in CAMERAS:
        mine = sorted((s for s in found if s.camera == name), key=lambda s: s.start)
        for before, after in itertools.pairwise(mine):
            gap_s = (after.start - before.start).total_seconds() - before.duration
            # Two connections to one of these cameras have their keyframes at other times.
            assert abs(gap_s) < 1.0, (name, gap_s)
    assert len({(s.camera, s.epoch) for s in found}) == 2 * len(CAMERAS), "each has moved once"


@pytest.mark.slow
async def test_a_camera_that_takes_one_connection_at_a_time_moves_too(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """Its new ingest is refused as long as the old one films."""
    async with contextlib.AsyncExitStack() as opened:
        for name in CAMERAS:
            way = await opened.enter_async_context(Way(camera, most=1))
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


async def all_stored_after(admin: Client, at: float) -> None:
    """Wait for video of each camera that was filmed later."""
    while {s.camera for s in await stored(admin) if s.start.timestamp() > at} != set(CAMERAS):
        await asyncio.sleep(0.5)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("hung_s", [4, 12])
async def test_nor_does_one_that_hung(
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
async def test_who_was_cut_off_stores_what_was_filmed_while_the_camera_was_its_own(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """It threw all of it away, and the other one began only once the lease had run out."""
    async with Way(server.url) as way:
        ingests = [start(INGEST_TIMEOUT_S=PATIENT_S, NATS_URL=way.url), start(INGEST_TIMEOUT_S=PATIENT_S)]
        await shared_out(admin, ingests, camera)
        cut_off, other = ingests
        cut_at = time.time()
        way.cut()
        await until(lambda: other.metric("tidegate_ingest_cameras_online") == len(CAMERAS))
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
            # Of a camera that is handed over, whose connections have their keyframes at other times.
            assert all(t <= 0.6 for t in twice_s), (name, twice_s)
            assert any(a[0] < cut_at < a[1] for a in spans), "of what came after the cut, too"
