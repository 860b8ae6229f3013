"""Outages of the server with several processes that share the cameras: no video is lost while buffers hold it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.contract import names
from shared.contract import segment as segments
from shared.contract.segment import Segment
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.video import footage
from tests.support.video.rtsp_server import serving
from tests.support.waiting import patience_s, until
from tidegate.chaos.ledger import Piece, of_camera
from tidegate.chaos.network_proxy import NetworkProxy, late
from tidegate.local.server import NatsServer

__all__ = ["bus", "start"]

# A busy machine may keep a camera waiting: the reconnection after that is tested elsewhere.
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
    """Return all segments of MEDIA in the order of storage."""
    js = admin.jetstream()
    state = (await js.stream_info("MEDIA")).state
    messages = [
        await js.get_msg("MEDIA", seq=n, direct=True) for n in range(max(1, state.first_seq), state.last_seq + 1)
    ]
    return [segments.from_headers(message.headers) for message in messages]


async def shared_out(admin: Client, ingests: list[Ingest], url: str) -> dict[str, str]:
    """Give each of them some of the cameras; the epoch of each, once all have stored video that was filmed then."""
    for name in CAMERAS:
        await add(admin, name, url)
    share = len(CAMERAS) / len(ingests)
    await until(lambda: all(i.metric("tidegate_ingest_cameras_online") == share for i in ingests))
    now = time.time()
    found: list[Segment] = []
    while len({s.camera for s in found}) < len(CAMERAS):
        await asyncio.sleep(0.2)
        found = [s for s in await stored(admin) if s.start.timestamp() > now]
    return {s.camera: s.epoch for s in found}


async def moving(admin: Client, start: Callable[..., Ingest], url: str) -> tuple[Ingest, Ingest]:
    """An ingest with all cameras, and a second one that has taken its share of them and not begun, if `url` is slow."""
    first = start(INGEST_TIMEOUT_S=PATIENT_S)
    await shared_out(admin, [first], url)
    second = start(INGEST_TIMEOUT_S=PATIENT_S)
    await until(lambda: second.metric("tidegate_ingest_cameras_owned"))
    return first, second


async def assert_nothing_is_missing(admin: Client, epochs: dict[str, str]) -> None:
    """Assert that each ingest has the same cameras and connections, and that all segments are stored once, in order."""
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
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_an_ingest_stopped_before_it_started_reports_nothing_of_its_cameras(
    admin: Client, start: Callable[..., Ingest], bus: Bus, camera: str
) -> None:
    """It once reported them offline for as long as the previous ingest filmed on."""
    async with slow_to_answer(camera) as url:
        first, second = await moving(admin, start, url)
        assert await asyncio.to_thread(second.stop) == 0
        await until(lambda: first.metric("tidegate_ingest_cameras_owned") == len(CAMERAS))
        await all_stored_after(admin, time.time())
        found = await stored(admin)
        states = {name: bus.states(name) for name in CAMERAS}
        assert await asyncio.to_thread(first.stop) == 0
    assert_whole(found)
    assert {reports[-1] for reports in states.values()} == {"online"}, states
    assert len({(s.camera, s.epoch) for s in found}) == len(CAMERAS), "none was connected to again"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_an_ingest_stopped_at_its_start_hands_over_its_cameras(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """It once could not offer cameras that it had just taken, and no ingest had them until the next had connected."""
    async with slow_to_answer(camera) as url:
        first = start(INGEST_TIMEOUT_S=PATIENT_S)
        await shared_out(admin, [first], url)
        second = start(INGEST_TIMEOUT_S=PATIENT_S)
        await until(lambda: second.metric("tidegate_ingest_cameras_online"))
        assert await asyncio.to_thread(second.stop) == 0
        await all_online(first)
        await all_stored_after(admin, time.time())
        assert first.metric("tidegate_ingest_dropped_segments_total") == 0
        found = await stored(admin)
        assert await asyncio.to_thread(first.stop) == 0
    assert_whole(found)


@pytest.mark.slow
@pytest.mark.long
async def test_a_stop_ends_within_its_grace_though_the_server_is_away(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The stop once took twice as long if others were about to take its cameras; Kubernetes kills it before that."""
    async with slow_to_answer(camera, delay_s=8) as url:
        first, second = await moving(admin, start, url)
        first.process.terminate()
        await until(lambda: second.metric("tidegate_ingest_cameras_owned") == len(CAMERAS))
        await server.stop(signal.SIGKILL)
        # INGEST_GRACE_S is 20.
        assert await asyncio.to_thread(first.process.wait, 33) == 0
        second.process.kill()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
@pytest.mark.long
async def test_a_stop_hands_over_once_the_server_is_back(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """It once gave the cameras up immediately; no ingest takes a camera until the server has been up for a lease."""
    stopping, other = ingests = [start(INGEST_TIMEOUT_S=PATIENT_S, INGEST_GRACE_S="60") for _ in range(2)]
    await shared_out(admin, ingests, camera)
    await server.stop(signal.SIGKILL)
    await asyncio.sleep(5)
    stopping.process.terminate()
    await asyncio.sleep(4)
    await server.start()
    assert await asyncio.to_thread(stopping.process.wait, patience_s()) == 0
    await until(lambda: admin.is_connected)
    await assert_handed_over(admin, other)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_a_stop_waits_for_an_ingest_that_was_away(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The other ingest was frozen just before, and takes nothing before it has heard the others for a lease."""
    async with slow_to_answer(camera) as url:
        stopping, other = ingests = [start(INGEST_TIMEOUT_S=PATIENT_S, INGEST_GRACE_S="60") for _ in range(2)]
        await shared_out(admin, ingests, url)
        other.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3.5)
        other.process.send_signal(signal.SIGCONT)
        await until(lambda: "the server was away" in other.log)
        assert await asyncio.to_thread(stopping.stop) == 0
        await assert_handed_over(admin, other)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_a_stopping_ingest_stores_cameras_that_no_other_takes(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The cameras were once on offer all the time: a late taker ended the storing, and the rest was dropped."""
    ingest = start(INGEST_TIMEOUT_S=PATIENT_S, INGEST_GRACE_S="60")
    await shared_out(admin, [ingest], camera)
    js = admin.jetstream()
    leases = await js.key_value(names.LEASES)
    # Another process that is there, and takes nothing.
    await leases.put("process.other-1-ab", b"other-1-ab/60")
    config = (await js.stream_info(names.MEDIA)).config
    await js.update_stream(config.evolve(subjects=["elsewhere.*"]))
    await asyncio.sleep(2)
    ingest.process.terminate()

    async def reported_cameras() -> set[bool]:
        return {b"offered" in ((await leases.get(f"camera.{name}")).value or b"") for name in CAMERAS}

    while await reported_cameras() != {True}:
        await asyncio.sleep(0.1)
    while await reported_cameras() != {False}:
        assert ingest.process.poll() is None
        await asyncio.sleep(0.1)
    await js.update_stream(config)
    assert await asyncio.to_thread(ingest.process.wait, patience_s()) == 0
    found = await stored(admin)
    assert_whole(found)
    assert "dropped what could not be stored" not in ingest.log


@contextlib.asynccontextmanager
async def slow_to_answer(camera: str, delay_s: float = 0.5) -> AsyncIterator[str]:
    """URL of a camera that takes some seconds to connect to: four times the delay."""
    async with NetworkProxy(camera, there=late(delay_s)) as way:
        yield f"{way.url}/{camera.rpartition('/')[2]}"


async def all_online(*ingests: Ingest) -> None:
    share = len(CAMERAS) / len(ingests)
    await until(lambda: all(i.metric("tidegate_ingest_cameras_online") == share for i in ingests))


def assert_whole(found: list[Segment], missing_s: float = 0.3) -> None:
    """Of each camera nothing is missing, and nothing is there twice but within a segment: two connections to one of
    these cameras have their keyframes at other times.
    """
    for name in CAMERAS:
        mine = sorted((s for s in found if s.camera == name), key=lambda s: s.start)
        starts = [s.start.timestamp() for s in mine]
        reached = itertools.accumulate((at + s.duration for at, s in zip(starts, mine, strict=True)), max)
        gaps = [at - end for end, at in zip(reached, starts[1:], strict=False)]
        assert max(gaps) <= missing_s, name
        pieces = [Piece(name, s.epoch, s.n, at, at + s.duration, 0) for at, s in zip(starts, mine, strict=True)]
        assert of_camera(pieces).doubled_s == 0, name


async def assert_handed_over(admin: Client, ingest: Ingest) -> None:
    """Assert that it gets all cameras and that nothing is missing; stop it then."""
    await all_online(ingest)
    await all_stored_after(admin, time.time())
    found = await stored(admin)
    assert await asyncio.to_thread(ingest.stop) == 0
    assert_whole(found)


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


async def all_stored_after(admin: Client, at: float) -> None:
    """Wait for video of each camera that was filmed later."""
    while {s.camera for s in await stored(admin) if s.start.timestamp() > at} != set(CAMERAS):
        await asyncio.sleep(0.5)


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
