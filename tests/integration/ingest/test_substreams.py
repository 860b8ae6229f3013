"""A camera with a substream: both streams are published, each on its own, under one lease and one status."""

from __future__ import annotations

import asyncio
import io
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from nats.aio.client import Client

from services.ingest.delivery.camera_delivery import APART_S
from shared.client import registry
from shared.contract import segment as segments
from shared.contract.segment import Segment
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.video import footage
from tests.support.video.limited_camera import hanging, limited
from tests.support.video.live_camera import live
from tests.support.video.rtsp_server import serving
from tests.support.waiting import until
from tests.support.worlds.ingest_server import leases
from tidegate.local.server import NatsServer

__all__ = ["bus", "start"]

# One camera server, whose video takes seconds to make.
pytestmark = pytest.mark.xdist_group("substreams")

SUB, MAIN = (160, 120), (320, 240)
SUBJECTS = ("media.cam", "main.cam")


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a camera server with the streams /main.mp4 (GOP 2 s) and /sub.mp4 (GOP 1 s)."""
    folder = tmp_path_factory.mktemp("cameras")
    footage.make(folder / "main.mp4", size=MAIN, gop=50)
    footage.make(folder / "sub.mp4", size=SUB, gop=25)
    with serving(folder, folder / "log") as url:
        yield url


def endless(name: str) -> str:
    return f"/{name}.mp4?play_count=0"


async def both(admin: Client, url: str, **fields: object) -> None:
    await add(admin, "cam", url + endless("main"), detect=str(fields.pop("detect", endless("sub"))), **fields)


async def stored(admin: Client, subject: str) -> list[Segment]:
    """Return the segments of a subject in the order of storage."""
    js = admin.jetstream()
    state = (await js.stream_info("MEDIA")).state
    found = [await js.get_msg("MEDIA", seq=n, direct=True) for n in range(max(1, state.first_seq), state.last_seq + 1)]
    return [segments.from_message(m.subject or "", m.headers) for m in found if m.subject == subject]


async def counts(admin: Client) -> list[int]:
    return [len(await stored(admin, subject)) for subject in SUBJECTS]


async def until_present(admin: Client, processes: int) -> None:
    while sum(key.startswith("process.") for key in await leases(admin)) < processes:
        await asyncio.sleep(0.2)
    # The first one has heard of the second by then.
    await until_stored(admin, 1, 1)


async def until_stored(admin: Client, *more: int) -> None:
    """Wait until this many more segments of the substream and of the main stream are stored."""
    before = await counts(admin)
    while any(n < was + wanted for n, was, wanted in zip(await counts(admin), before, more, strict=True)):
        await asyncio.sleep(0.3)


def assert_in_order(found: list[Segment]) -> None:
    """Each connection's segments are there once, in order."""
    for epoch in {s.epoch for s in found}:
        assert [s.n for s in found if s.epoch == epoch] == list(range(sum(s.epoch == epoch for s in found)))


async def test_both_streams_are_published_each_on_its_subject(
    admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str
) -> None:
    await both(admin, camera)
    ingest = start()
    await until_stored(admin, 3, 3)
    sub, main = [await stored(admin, subject) for subject in SUBJECTS]
    assert {(s.camera, s.width) for s in sub} == {("cam", SUB[0])}
    assert {(s.camera, s.width) for s in main} == {("cam", MAIN[0])}
    assert not {s.epoch for s in sub} & {s.epoch for s in main}
    assert_in_order(sub)
    assert_in_order(main)
    # A dependent segment names one of its own stream.
    js = admin.jetstream()
    for s in await stored(admin, "main.cam"):
        if s.key_seq:
            assert (await js.get_msg("MEDIA", seq=s.key_seq, direct=True)).subject == "main.cam"
    assert ingest.metric("tidegate_ingest_cameras_owned") == 1
    assert ingest.metric("tidegate_ingest_segments_total", camera="cam", stream="main") >= 3
    await until(lambda: any(e.get("main") == "online" for e in bus.events))
    assert [(e["state"], e["reason"]) for e in bus.events if e["camera"] == "cam"][-1] == ("online", "video arrives")
    assert ingest.stop() == 0
    await admin.flush()
    await until(lambda: bus.states("cam")[-1] == "offline")


async def test_a_camera_without_a_main_stream_is_online_and_says_why_recordings_miss_it(
    admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str
) -> None:
    await add(admin, "cam", f"{camera}/nowhere.mp4", detect=endless("sub"))
    ingest = start()
    await until(lambda: any(e.get("main") == "offline" for e in bus.events))
    event = [e for e in bus.events if e["camera"] == "cam"][-1]
    assert (event["state"], event["width"]) == ("online", SUB[0])
    assert event["reason"].startswith("video arrives; its main stream: the camera has no such path: ")
    assert ingest.metric("tidegate_ingest_main_streams_offline", camera="cam") == 1
    assert ingest.metric("tidegate_ingest_cameras_online") == 1
    await registry.change(admin.jetstream(), "cam", {"url": camera + endless("main")})
    await until_stored(admin, 1, 1)
    await until(lambda: bus.events[-1].get("main") == "online")
    assert ingest.metric("tidegate_ingest_main_streams_offline") == 0


async def test_a_camera_without_its_substream_is_offline_and_its_main_stream_arrives(
    admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str
) -> None:
    await both(admin, camera, detect="/nowhere.mp4")
    ingest = start()
    await until(lambda: any((e["state"], e.get("main")) == ("offline", "online") for e in bus.events))
    reason = bus.events[-1]["reason"]
    assert reason.startswith("its substream: the camera has no such path: ")
    assert reason.endswith("; its main stream arrives")
    assert (await counts(admin))[0] == 0
    assert ingest.metric("tidegate_ingest_cameras_online") == 0


@pytest.mark.slow
async def test_a_stream_that_breaks_leaves_the_other_alone(
    admin: Client, bus: Bus, start: Callable[..., Ingest], tmp_path: Path
) -> None:
    """One of two connections of a camera ends repeatedly: the other one is not reconnected."""
    footage.make(tmp_path / "main.mp4", size=MAIN)
    footage.make(tmp_path / "sub.mp4", size=SUB)
    with serving(tmp_path, tmp_path / "log") as url:
        await add(admin, "cam", f"{url}/main.mp4?play_count=1", detect=endless("sub"))
        ingest = start()
        await until(lambda: ingest.metric("tidegate_ingest_reconnects_total", camera="cam", stream="main") >= 2)
        await until_stored(admin, 1, 1)
        sub, main = [await stored(admin, subject) for subject in SUBJECTS]
    assert len({s.epoch for s in sub}) == 1 and len({s.epoch for s in main}) >= 2
    assert_in_order(sub)
    assert_in_order(main)
    assert {e["state"] for e in bus.events} == {"online"}


@pytest.mark.slow
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
async def test_a_server_restart_loses_nothing_of_either_stream(
    server: NatsServer, admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str, sig: signal.Signals
) -> None:
    await both(admin, camera)
    ingest = start(INGEST_TIMEOUT_S="60")
    await until_stored(admin, 2, 2)
    await server.stop(sig)
    await asyncio.sleep(3)
    await server.start()
    await until(lambda: admin.is_connected)
    await until_stored(admin, 4, 3)
    assert ingest.stop() == 0
    for subject in SUBJECTS:
        found = await stored(admin, subject)
        assert len({s.epoch for s in found}) == 1, "not reconnected to the camera"
        assert_in_order(found)


def assert_whole(found: list[Segment], subject: str) -> None:
    """Nothing of a stream is missing between two processes, and no segment of one lies within the other's."""
    in_time = sorted(found, key=lambda s: s.start)
    reached, epochs = 0.0, list(dict.fromkeys(s.epoch for s in in_time))
    for s in in_time:
        at = s.start.timestamp()
        assert not reached or at <= reached + 0.3, f"{subject}: a gap of {at - reached:.2f} s"
        assert at + s.duration > reached, f"{subject}: twice"
        reached = at + s.duration
    changes = sum(a.epoch != b.epoch for a, b in itertools.pairwise(in_time))
    assert changes == len(epochs) - 1, f"{subject}: two processes together"


@pytest.mark.slow
async def test_a_handover_loses_and_doubles_nothing_of_either_stream(
    admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str
) -> None:
    await both(admin, camera)
    first = start(INGEST_TIMEOUT_S="60")
    await until_stored(admin, 3, 2)
    second = start(INGEST_TIMEOUT_S="60")
    await until_present(admin, 2)
    assert await asyncio.to_thread(first.stop) == 0
    await until(lambda: second.metric("tidegate_ingest_cameras_owned") == 1)
    await until_stored(admin, 4, 3)
    assert await asyncio.to_thread(second.stop) == 0
    for subject in SUBJECTS:
        found = await stored(admin, subject)
        assert len({s.epoch for s in found}) == 2, f"{subject}: one connection of each process"
        assert_in_order(found)
        assert_whole(found, subject)
    for ingest in (first, second):
        assert "dropped what could not be stored" not in ingest.log


@pytest.mark.slow
async def test_a_main_stream_that_hangs_holds_up_no_handover_of_the_substream(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The new process has the substream, and no answer of the main stream: the old one once read on for as long."""
    async with hanging(camera, "main") as (url, hang):
        await both(admin, url)
        first = start(INGEST_TIMEOUT_S="150")
        await until_stored(admin, 3, 2)
        hang.set()
        start(INGEST_TIMEOUT_S="150")
        while sum(key.startswith("process.") for key in await leases(admin)) < 2:
            await asyncio.sleep(0.2)
        await until_stored(admin, 2, 0)
        assert await asyncio.to_thread(first.stop) == 0
        await until_stored(admin, 3, 0)
        found = await stored(admin, "media.cam")
        assert len({s.epoch for s in found}) == 2
        assert_whole(found, "media.cam")


@pytest.mark.slow
async def test_a_killed_process_is_followed_by_another_with_both_streams(
    admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str
) -> None:
    await both(admin, camera)
    first = start()
    await until_stored(admin, 2, 2)
    second = start()
    await until_present(admin, 2)
    first.process.send_signal(signal.SIGKILL)
    killed = time.time()
    await until(lambda: second.metric("tidegate_ingest_cameras_owned") == 1)
    await until_stored(admin, 2, 2)
    for subject in SUBJECTS:
        found = await stored(admin, subject)
        assert_in_order(found)
        later = {s.epoch for s in found if s.start.timestamp() > killed + 1}
        assert len(later) == 1 and later != {found[0].epoch}


@pytest.mark.slow
@pytest.mark.parametrize("ends", [False, True])
async def test_a_camera_that_plays_one_stream_is_told_from_others(
    admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str, ends: bool
) -> None:
    """ends: it ends the first stream when the second begins; otherwise it refuses the second. Detection goes on."""
    async with limited(camera, ends=ends) as url:
        await both(admin, url)
        ingest = start()
        await until(lambda: any("it may allow one connection only" in e["reason"] for e in bus.events))
        reason = next(e["reason"] for e in bus.events if "one connection" in e["reason"])
        assert "--unset detect" in reason
        begun = len(await stored(admin, "media.cam"))
        await until_stored(admin, 5, 0)
        later = (await stored(admin, "media.cam"))[begun:]
        assert len({s.epoch for s in later[-4:]}) == 1, "the substream has the camera"
        await until(lambda: bus.events[-1]["state"] == "online" and bus.events[-1]["main"] == "offline")
        assert ingest.metric("tidegate_ingest_reconnects_total", cause="one_connection", stream="main") >= 1


async def test_files_are_two_streams_too(admin: Client, bus: Bus, start: Callable[..., Ingest], tmp_path: Path) -> None:
    main = footage.make(tmp_path / "main.mp4", size=MAIN, frames=250, gop=50)
    sub = footage.make(tmp_path / "sub.mp4", size=SUB, frames=250, gop=25)
    await add(admin, "cam", main.as_uri(), detect=sub.as_uri(), realtime=False)
    start()
    await until(lambda: "offline" in bus.states("cam"))
    await until_files_end(admin)
    ends = []
    for subject in SUBJECTS:
        found = await stored(admin, subject)
        assert sum(s.frames for s in found) == 250
        ends.append(found[-1].start.timestamp() + found[-1].duration)
    assert abs(ends[0] - ends[1]) < 1.0


async def until_files_end(admin: Client) -> None:
    while min([sum(s.frames for s in await stored(admin, subject)) for subject in SUBJECTS]) < 250:
        await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_both_streams_of_a_camera_are_dated_alike(
    admin: Client, start: Callable[..., Ingest], tmp_path: Path
) -> None:
    """The same frame has the same time in two encodings of one scene."""
    files = {
        "sub": footage.make(tmp_path / "sub.mp4", size=SUB, gop=50),
        "main": footage.make(tmp_path / "main.mp4", size=(640, 480), gop=50),
    }
    keyframes: dict[str, list[tuple[float, int]]] = {subject: [] for subject in SUBJECTS}

    async def on_message(message: Any) -> None:
        s = segments.from_headers(message.headers)
        if s.key_seq is None:
            keyframes[message.subject].append((s.start.timestamp(), shade(message.data)))

    for subject in SUBJECTS:
        await admin.subscribe(subject, cb=on_message)
    async with live(files) as url:
        await add(admin, "cam", f"{url}/main", detect="/sub")
        start(INGEST_TIMEOUT_S="60")
        await until(lambda: all(len(found) >= 4 for found in keyframes.values()))
    sub, main = keyframes.values()
    # Frame 0 is dark, frame 50 is bright, and each is there every 4 s.
    apart = [min(abs(at - other) for other, as_dark in main if as_dark == dark) for at, dark in sub[1:4]]
    print(f"{[round(1000 * s, 1) for s in apart]} ms apart")
    assert max(apart) < APART_S


def shade(payload: bytes) -> int:
    """Return whether the first frame's corner is dark, as 0 or 1."""
    with av.open(io.BytesIO(payload)) as container:
        first = next(container.decode(video=0))
    return int(first.to_ndarray(format="gray")[0, 0] < 128)
