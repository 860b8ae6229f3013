"""Several ingest processes that share cameras, and the checks of what they stored."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.contract import segment as segments
from shared.contract.segment import Segment
from tests.support.processes.ingest_process import Ingest, add
from tests.support.video import footage
from tests.support.video.rtsp_server import serving
from tests.support.waiting import until
from tidegate.chaos.ledger import Piece, of_camera
from tidegate.chaos.network_proxy import NetworkProxy, late

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


async def all_stored_after(admin: Client, at: float) -> None:
    """Wait for video of each camera that was filmed later."""
    while {s.camera for s in await stored(admin) if s.start.timestamp() > at} != set(CAMERAS):
        await asyncio.sleep(0.5)
