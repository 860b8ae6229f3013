"""`tidegate model compare --live`: it reads next to a worker, and neither the worker nor its events notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.api import ConsumerInfo

from services.cv.detectors import Detection
from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.contract.segment import to_headers
from shared.runtime.tasks import end
from shared.video.decode import Image
from tests.support.processes.command_line import tidegate_on
from tests.support.processes.cv_worker import Nothing, detecting, segment_head
from tests.support.processes.service import settled
from tests.support.video import footage
from tests.support.video.detector_pair import detectors
from tests.support.video.video_world import path, pieces, publish  # noqa: F401 - fixtures
from tests.support.waiting import patience_s, until
from tidegate.demo import clips
from tidegate.local.server import NatsServer
from tidegate.models import arriving
from tidegate.models.comparison import SLOW, Comparison, Side

FOREVER_S = 10_000.0


class Found(Nothing):
    """Finds one person in the middle; while `held`, it does not answer."""

    name = "found"

    def __init__(self) -> None:
        self.held = threading.Event()
        self.held.set()

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        self.held.wait()
        return [[Detection(label="person", score=0.9, box=(0.4, 0.4, 0.6, 0.6))] for _ in images]


async def comparing_consumers(admin: Client) -> list[ConsumerInfo]:
    found = await admin.jetstream().consumers_info(names.MEDIA)
    return [info for info in found if info.name.startswith("compare-")]


@contextlib.asynccontextmanager
async def following(
    admin: Client, cameras: Sequence[str] = (), detector: Found | None = None
) -> AsyncIterator[Comparison]:
    """A comparison that follows `cameras` until the end of the block."""
    comparison = Comparison(Side(Nothing(), 0.4), Side(detector or Found(), 0.4), fps=5)
    task = asyncio.create_task(arriving.follow(admin, cameras, FOREVER_S, comparison, lambda _: None))
    async with asyncio.timeout(patience_s()):
        while not await comparing_consumers(admin):
            assert not task.done()
            await asyncio.sleep(0.02)
    try:
        yield comparison
    finally:
        await end(task)


def seconds_of(count: int, folder: Path, camera: str = "lobby") -> list[Piece]:
    return clips.pieces(footage.make(folder / f"{camera}.mp4", frames=25 * count), camera)


async def detections(admin: Client) -> int:
    state = (await admin.jetstream().stream_info(names.EVENTS, subjects_filter="events.detections.>")).state
    return sum((state.subjects or {}).values())


async def test_a_worker_and_its_events_are_as_without_a_comparison(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    js = admin.jetstream()
    async with detecting(server), following(admin) as comparison:
        (info,) = await comparing_consumers(admin)
        assert info.config.inactive_threshold == arriving.INACTIVE_S and info.config.headers_only
        await publish(admin, seconds_of(4, tmp_path), "lobby")
        await until(lambda: comparison.segments == 4)
        await settled(admin, names.MEDIA, "cv")
    assert comparison.tally.total.only_b == comparison.tally.frames == 20
    assert not comparison.skipped
    cv = await js.consumer_info(names.MEDIA, "cv")
    assert cv.delivered and cv.delivered.consumer_seq == 4 and (cv.num_pending, cv.num_redelivered) == (0, 0)
    assert await detections(admin) == 4
    assert (await js.stream_info(names.EVENTS)).state.messages == 4
    assert not await comparing_consumers(admin)


async def test_only_the_cameras_that_are_named_are_compared_and_only_new_video(admin: Client, tmp_path: Path) -> None:
    await publish(admin, seconds_of(2, tmp_path, "yard"), "yard")
    async with following(admin, ["lobby", "gate"]) as comparison:
        for camera in ("yard", "lobby", "gate"):
            await publish(admin, seconds_of(2, tmp_path, camera), camera)
        await until(lambda: comparison.segments == 4)
    assert {worst.camera for worst in comparison.worst} == {"lobby", "gate"}
    assert comparison.segments == 4


async def test_slow_detectors_skip_segments_and_count_them(admin: Client, tmp_path: Path) -> None:
    """One segment is in the detector, WAITING wait, and the older ones of the rest are skipped."""
    slow, number = Found(), arriving.WAITING + 4
    slow.held.clear()
    try:
        async with following(admin, detector=slow) as comparison:
            await publish(admin, seconds_of(number, tmp_path), "lobby")
            await until(lambda: comparison.skipped[SLOW] >= 3)
            slow.held.set()
            await until(lambda: comparison.segments + comparison.skipped.total() == number)
    finally:
        slow.held.set()
    assert comparison.segments == number - comparison.skipped[SLOW] >= arriving.WAITING
    assert f"as {SLOW}" in next(comparison.reasons)


async def test_a_segment_within_its_gop_is_decoded_with_those_before_it(
    admin: Client,
    pieces: list[Piece],  # noqa: F811 - a fixture
) -> None:
    """Four segments a GOP. The comparison begins with the third: MEDIA has the others."""
    dated = [piece._replace(segment=replace(piece.segment, camera="cam")) for piece in pieces]
    js = admin.jetstream()
    (first,) = await publish(admin, dated[:1])
    second = replace(dated[1].segment, key_seq=first)
    await js.publish(names.media("cam"), dated[1].payload, headers=to_headers(second))
    async with following(admin) as comparison:
        third = replace(dated[2].segment, key_seq=first)
        await js.publish(names.media("cam"), dated[2].payload, headers=to_headers(third))
        await until(lambda: comparison.segments + comparison.skipped.total() == 1)
    assert (comparison.segments, comparison.tally.frames) == (1, 5)


async def test_broken_and_expired_segments_are_counted_with_their_reason(admin: Client, tmp_path: Path) -> None:
    js = admin.jetstream()
    async with following(admin) as comparison:
        await js.publish(names.media("lobby"), b"no video", headers=to_headers(segment_head(0)))
        await js.publish(names.media("lobby"), b"no headers")
        lost = segment_head(2, key_seq=1000)
        await js.publish(names.media("lobby"), b"late", headers=to_headers(lost))
        await publish(admin, seconds_of(1, tmp_path), "lobby")
        await until(lambda: comparison.segments == 1)
    assert comparison.skipped == {"they can't be decoded": 2, "their video has expired": 1}
    assert any("2 as they can't be decoded (first: " in reason for reason in comparison.reasons)


@pytest.mark.slow
async def test_ctrl_c_prints_the_result_so_far_and_removes_the_consumer(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    command = ("-m", "tidegate", "model", "compare", *detectors(tmp_path), "--data", str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        *("--live", str(FOREVER_S), "--json"),
        env=os.environ | server.environment("admin"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    async with asyncio.timeout(patience_s()):
        while not await comparing_consumers(admin):
            await asyncio.sleep(0.05)
        await publish(admin, seconds_of(3, tmp_path), "lobby")
        while b"3 segments compared" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["segments"] == 3 and report["total"]["agreed"] == 15
    assert report["footage"].startswith("all cameras, live for ") and b"the result so far" in err
    assert not await comparing_consumers(admin)


async def test_a_comparison_goes_on_after_a_restart_of_the_server(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    first, *rest = seconds_of(3, tmp_path)
    async with following(admin) as comparison:
        await publish(admin, [first], "lobby")
        await until(lambda: comparison.segments == 1)
        await server.restart()
        await until(lambda: admin.is_connected)
        await publish(admin, rest, "lobby")
        await until(lambda: comparison.segments == 3)
    assert not comparison.skipped


async def test_a_camera_without_video_is_named(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    command = ("model", "compare", *detectors(tmp_path), "--live", "0.2", "--camera", "gate", "--data", str(tmp_path))
    done = await tidegate_on(server, *command, cwd=tmp_path)
    assert done.returncode == 1 and "there is no camera 'gate'" in done.stderr
    assert "no segment arrived in 0.2 s: 'tidegate camera list'" in done.stderr
    assert not await comparing_consumers(admin)
