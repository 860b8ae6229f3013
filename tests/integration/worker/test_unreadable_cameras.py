"""A camera with unreadable segments has this in its status, and does not fill the dead letters."""

from __future__ import annotations

import asyncio
import datetime as dt
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from shared.client import dlq, registry
from shared.contract import deadletters, events, names
from shared.contract.events import CameraStatus, VideoStatus
from shared.contract.segment import to_headers
from shared.runtime.errors import BadSegment, OverBudget
from shared.worker.extensions.unreadable import UnreadableCameras, UnreadableTuning
from tests.support.processes.command_line import tidegate_on
from tests.support.processes.cv_worker import detecting, segment_head
from tests.support.video import hostile_segments as hostile
from tests.support.waiting import patience_s, until
from tests.support.worlds.scalers import IDLE
from tidegate.local.server import NatsServer
from tidegate.view.monitor import Monitor

SIZE = (320, 240)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


# ---- events and dead letters


def test_the_first_failure_of_each_cause_is_evidence_and_the_others_are_counted() -> None:
    cameras = UnreadableCameras(Clock())
    assert cameras.record_failure("lobby", BadSegment("breaks off after 7 frames"))
    assert not cameras.record_failure("lobby", BadSegment("breaks off after 12 frames"))
    assert cameras.record_failure("lobby", BadSegment("holds no video"))
    assert cameras.record_failure("lobby", OverBudget("it takes 20 gigapixels"))
    assert not cameras.record_failure("lobby", OverBudget("its camera is in quarantine"))
    assert cameras.record_failure("door", BadSegment("holds no video"))
    cameras.record_success("lobby")
    assert cameras.record_failure("lobby", BadSegment("holds no video"))


def test_a_camera_that_alternates_good_and_bad_does_not_fill_the_dead_letters() -> None:
    clock = Clock()
    cameras = UnreadableCameras(clock)
    letters = 0
    for n in range(3600):
        clock.now += 1
        if n % 2:
            cameras.record_success("lobby")
        else:
            letters += cameras.record_failure(
                "lobby", BadSegment(f"breaks off in a way called {'abcdefghijklmnop'[n // 2 % 16]}")
            )
    assert 8 <= letters <= 8 * 12
    assert cameras.record_failure("door", BadSegment("breaks off"))


def test_camera_trouble_is_reported_repeatedly_and_at_its_end() -> None:
    clock = Clock()
    cameras = UnreadableCameras(clock)
    for _ in range(2):
        cameras.record_failure("lobby", BadSegment("no frame decodes"))
    assert cameras.due() == [], "two may be an accident"
    clock.now += 5
    cameras.record_failure("lobby", BadSegment("no frame decodes"))
    (trouble,) = cameras.due()
    assert (trouble.camera, trouble.state, trouble.cause, trouble.since, trouble.segments) == (
        "lobby",
        "unreadable",
        "undecodable",
        1000.0,
        3,
    )
    assert "no frame decodes" in trouble.reason and "interval of 1 to 2 s" in trouble.reason
    cameras.record_failure("lobby", BadSegment("no frame decodes"))
    assert cameras.due() == []
    clock.now += 30
    assert [t.segments for t in cameras.due()] == [4]
    clock.now += 30
    assert cameras.due() == [], "nothing has come since"
    cameras.record_success("lobby")
    assert [t.state for t in cameras.due()] == ["readable"]
    assert cameras.due() == []


def test_invented_names_take_neither_memory_nor_dead_letters() -> None:
    clock = Clock()
    cameras = UnreadableCameras(clock, UnreadableTuning(cameras=100))
    letters = 0
    for n in range(5000):
        for _ in range(3):
            letters += cameras.record_failure(f"invented-{n}", BadSegment("holds no video"))
    assert letters == 100
    assert len(cameras._rows) == len(cameras._dead_letter_times) == 100
    clock.now += 301
    cameras.due()
    assert [cameras.record_failure("lobby", BadSegment("holds no video")) for _ in range(3)] == [True, False, False]
    assert [trouble.camera for trouble in cameras.due()] == ["lobby"]


@given(st.lists(st.sampled_from(["works", "fails", "asks"]), max_size=60))
def test_trouble_ends_only_after_its_report(steps: list[str]) -> None:
    cameras = UnreadableCameras(Clock())
    reports: list[str] = []
    for step in steps:
        if step == "works":
            cameras.record_success("lobby")
        elif step == "fails":
            cameras.record_failure("lobby", BadSegment("no frame decodes"))
        else:
            reports += [trouble.state for trouble in cameras.due()]
    assert reports == [("unreadable", "readable")[n % 2] for n in range(len(reports))]


# ---- with a real worker


@cache
def good() -> bytes:
    return hostile.still(SIZE).mp4


def bad() -> bytes:
    """Starts inside a GOP, as of a camera without keyframes, whose start is not stored."""
    still = hostile.still(SIZE)
    return hostile.muxed(still, still.skips, keyframe=False)


async def publish(client: Client, camera: str, n: int, payload: bytes) -> int:
    head = segment_head(n, camera=camera, size=SIZE, frames=17)
    return (await client.jetstream().publish(names.media(camera), payload, headers=to_headers(head))).seq


async def online(client: Client, camera: str) -> None:
    """Add the camera, and publish ingest's event that it is online."""
    await registry.put(client.jetstream(), camera, registry.Camera(url="rtsp://10.0.0.7/1"), None)
    status = CameraStatus(
        camera=camera,
        time=dt.datetime.now(dt.UTC),
        state="online",
        reason=events.VIDEO_ARRIVES,
        url="rtsp://10.0.0.7/1",
        codec="h264",
        width=320,
        height=240,
        ingest="ingest-0",
    )
    await client.jetstream().publish(events.subject(status), events.encode(status))


async def until_unreadable(client: Client, camera: str, wanted: bool = True) -> VideoStatus | None:
    async with asyncio.timeout(patience_s()):
        while (found := await registry.unreadable(client.jetstream(), camera)) is None or not wanted:
            if found is None and not wanted:
                return None
            await asyncio.sleep(0.05)
    return found


async def test_a_camera_with_undecodable_segments_is_reported_and_dead_letters_one(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    payload = bad()
    await online(admin, "lobby")
    await online(admin, "door")
    for n in range(12):
        await publish(admin, "lobby", n, payload)
    await publish(admin, "door", 0, good())
    async with detecting(server), Monitor(admin, lambda: IDLE) as monitor:
        status = await until_unreadable(admin, "lobby")
        assert status is not None
        assert (status.cause, status.service, status.replica) == ("undecodable", "cv", "cv-0")
        assert "keyframe (I-frame) interval of 1 to 2 s" in status.reason and "intra refresh" in status.reason
        assert status.segments >= 3
        assert await registry.unreadable(admin.jetstream(), "door") is None
        await until(
            lambda: {c.id: c.state for c in monitor.snapshot().cameras} == {"lobby": "unreadable", "door": "online"}
        )
        (shown,) = [c for c in monitor.snapshot().cameras if c.id == "lobby"]
        assert shown.reason == status.reason

        listed = await tidegate_on(server, "camera", "list", cwd=tmp_path)
        states = {line.split("\t")[0]: line.split("\t")[1:] for line in listed.stdout.splitlines()}
        assert states["door"][0] == "online"
        assert states["lobby"][0] == "unreadable" and states["lobby"][-1] == status.reason
        one = await tidegate_on(server, "camera", "show", "lobby", cwd=tmp_path)
        assert "unreadable" in one.stdout and f"{status.segments} segments since" in one.stdout

        letters = [letter async for letter in dlq.entries(admin)]
        assert [letter.payload for letter in letters] == [payload]

        await publish(admin, "lobby", 20, good())
        await until_unreadable(admin, "lobby", wanted=False)
        await until(lambda: {c.state for c in monitor.snapshot().cameras} == {"online"})
        for n in range(21, 24):
            await publish(admin, "lobby", n, payload)
        await until_unreadable(admin, "lobby")
    assert len([letter async for letter in dlq.entries(admin)]) == 2, "what failed, worked, and fails again is new"


async def test_a_replay_that_fails_again_is_dead_lettered_again(server: NatsServer, admin: Client) -> None:
    """A person requested the replay, and must see its result."""
    seq = await publish(admin, "lobby", 0, bad())
    async with detecting(server):
        async with asyncio.timeout(patience_s()):
            while not (letters := [letter async for letter in dlq.entries(admin)]):
                await asyncio.sleep(0.05)
            await publish(admin, "lobby", 1, bad())
            replay = deadletters.replay_headers(letters[0])
            await admin.jetstream().publish(names.media("lobby"), letters[0].payload or b"", headers=replay)
            while len(letters) < 2:
                letters = [letter async for letter in dlq.entries(admin)]
                await asyncio.sleep(0.05)
    assert [letter.stream_seq for letter in letters] == [seq, seq + 2]
