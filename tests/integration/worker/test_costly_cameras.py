"""A camera with too costly segments is quarantined, returns once it has recovered, and ends no worker."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.cv.service import CvService, Pictures
from shared.client import dlq
from shared.contract import names
from shared.contract.events import Detections
from shared.contract.segment import Segment, to_headers
from shared.runtime import progress
from shared.runtime.errors import OverBudget
from shared.video import gop
from shared.video.budget import Budget
from shared.video.costly import QUARANTINE, CostlyCameras
from shared.video.decode import Decoded
from shared.video.segments import SegmentDecoder
from shared.worker import Message
from tests.support.processes.cv_worker import detecting, segment_head
from tests.support.video import hostile_segments as hostile
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer

SMALL = (320, 240)
FRAMES = 17
# A segment of the small picture passes, one of the large picture does not.
SOME = Budget(SMALL[0] * SMALL[1] * (FRAMES + 0.5) / 1e9)


@cache
def cheap() -> bytes:
    return hostile.still(SMALL).mp4


@cache
def costly() -> bytes:
    return hostile.still((640, 480)).mp4


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refused(cameras: CostlyCameras, camera: str = "lobby") -> bool:
    try:
        cameras.check(camera)
    except OverBudget:
        return True
    return False


# ---- the choice of cameras


def test_a_camera_over_the_budget_is_quarantined_and_retried() -> None:
    clock = Clock()
    cameras = CostlyCameras(clock)
    for _ in range(2):
        cameras.record_failure("lobby", OverBudget("too much"))
        assert not refused(cameras)
    cameras.record_failure("lobby", OverBudget("too much"))
    with pytest.raises(OverBudget, match=r"quarantine for 60 s more, as .*too much"):
        cameras.check("lobby")
    assert not refused(cameras, "door")
    assert len(cameras) == 1
    clock.now = 61.0
    assert not refused(cameras)
    assert refused(cameras), "one at a time tries"
    cameras.record_failure("lobby", OverBudget("too much"))
    clock.now += 100.0
    assert refused(cameras), "twice as long"
    clock.now += 21.0
    assert not refused(cameras)
    cameras.record_success("lobby")
    assert not refused(cameras)
    assert len(cameras) == 0


def test_a_camera_over_the_budget_every_other_time_is_quarantined_too() -> None:
    cameras = CostlyCameras(Clock())
    for _ in range(4):
        cameras.record_failure("lobby", OverBudget("too much"))
        cameras.record_success("lobby") if not refused(cameras) else None
    assert refused(cameras)


def test_a_recovered_camera_starts_from_the_first_wait() -> None:
    cameras = CostlyCameras(Clock())
    cameras.record_failure("lobby", OverBudget("too much"))
    cameras.record_failure("lobby", OverBudget("too much"))
    for _ in range(50):
        cameras.record_success("lobby")
    cameras.record_failure("lobby", OverBudget("too much"))
    assert not refused(cameras)


@given(st.lists(st.tuples(st.floats(0, 2000), st.booleans()), max_size=60))
def test_no_quarantine_is_longer_than_the_maximum_wait(steps: list[tuple[float, bool]]) -> None:
    clock = Clock()
    cameras = CostlyCameras(clock)
    last_try = 0.0
    for passed_s, works in steps:
        clock.now += passed_s
        if refused(cameras):
            assert clock.now - last_try <= QUARANTINE.longest_s
            continue
        last_try = clock.now
        cameras.record_success("lobby") if works else cameras.record_failure("lobby", OverBudget("too much"))


# ---- decoding of stored segments


def head(n: int, *, key_seq: int | None = None, camera: str = "lobby") -> Segment:
    return segment_head(n, camera=camera, size=SMALL, frames=FRAMES, key_seq=key_seq)


async def publish(client: Client, segment: Segment, payload: bytes) -> int:
    ack = await client.jetstream().publish(names.media(segment.camera), payload, headers=to_headers(segment))
    return ack.seq


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_quarantined_camera_costs_no_decoding_and_comes_back(admin: Client) -> None:
    clock = Clock()
    used: list[Decoded] = []
    segments = SegmentDecoder(admin.jetstream(), threads=1, budget=SOME, service="test", costly=CostlyCameras(clock))

    async def decode(payload: bytes) -> None:
        await segments.decode(head(0), payload, used.append, fps=25)

    await decode(cheap())
    for _ in range(6):
        with pytest.raises(OverBudget):
            await decode(costly())
    assert sample("tidegate_over_budget_total", service="test", cause="budget") == 3
    assert sample("tidegate_over_budget_total", service="test", cause="quarantine") == 3
    assert sample("tidegate_cameras_quarantined", service="test") == 1
    with pytest.raises(OverBudget, match="quarantine"):
        await decode(cheap())
    clock.now = 61.0
    await decode(cheap())
    assert sample("tidegate_cameras_quarantined", service="test") == 0
    await decode(cheap())
    assert len(used) == 3


async def test_a_gop_over_the_limit_is_not_read(admin: Client) -> None:
    """The headers of its segments show that it is over the budget."""
    js = admin.jetstream()
    key = await publish(admin, head(0), b"key")
    for n in range(1, 6):
        await publish(admin, head(n, key_seq=key), b"part")
    assert await gop.earlier(js, head(3, key_seq=key), Budget(4 * SOME.gigapixels)) == [b"key", b"part", b"part"]
    await js.delete_msg(names.MEDIA, key + 5)
    with pytest.raises(OverBudget, match="DECODE_MAX_GIGAPIXELS"):
        await gop.earlier(js, head(6, key_seq=key), Budget(4 * SOME.gigapixels))


# ---- a worker


async def detections(client: Client) -> list[Detections]:
    js = client.jetstream()
    state = (await js.stream_info(names.EVENTS)).state
    found = [await js.get_msg(names.EVENTS, seq, direct=True) for seq in range(1, state.last_seq + 1)]
    return [msgspec.json.decode(m.data or b"", type=Detections) for m in found if m.subject.startswith("events.det")]


async def test_a_costly_camera_delays_no_other(server: NatsServer, admin: Client) -> None:
    for n in range(10):
        await publish(admin, head(n), costly())
        await publish(admin, head(n, camera="door"), cheap())
    async with detecting(server, gigapixels=SOME.gigapixels):
        async with asyncio.timeout(patience_s()):
            while len(await detections(admin)) < 10:
                await asyncio.sleep(0.05)
    assert {event.camera for event in await detections(admin)} == {"door"}
    letters = [letter async for letter in dlq.entries(admin)]
    assert len(letters) == 1
    assert letters[0].payload == costly()
    assert "DECODE_MAX_GIGAPIXELS" in letters[0].reason


async def test_progressing_work_is_not_a_hang(server: NatsServer, admin: Client) -> None:
    """A preparation may last longer than the limit of a hang: each decoded packet restarts the limit."""
    began: list[tuple[float, float]] = []

    class Watched(CvService):
        async def prepare(self, message: Message) -> Pictures:
            first = message.preparing_since
            prepared = await super().prepare(message)
            began.append((first or 0.0, message.preparing_since or 0.0))
            return prepared

    await publish(admin, head(0), cheap())
    async with detecting(server, Watched, gigapixels=SOME.gigapixels):
        await until(lambda: began)
    assert began[0][1] > began[0][0] > 0


async def test_waiting_for_a_thread_is_not_a_hang_while_others_progress(admin: Client) -> None:
    segments = SegmentDecoder(admin.jetstream(), threads=1, budget=Budget(), service="test")
    heard: Counter[str] = Counter()
    both_wait = threading.Event()

    async def decode(name: str, use: Callable[[Decoded], object]) -> None:
        def hear() -> None:
            heard[name] += 1

        with progress.heard_by(hear):
            await segments.decode(head(0), cheap(), use, fps=25)

    holds = asyncio.create_task(decode("holds", lambda _: both_wait.wait()))
    await until(lambda: heard["holds"] > FRAMES)
    fields = dict(heard)
    first = asyncio.create_task(decode("first", lambda _: both_wait.wait()))
    second = asyncio.create_task(decode("second", lambda _: None))
    await asyncio.sleep(0)
    both_wait.set()
    await asyncio.gather(holds, first, second)
    assert heard["holds"] == fields["holds"], "what is done tells nothing more"
    assert heard["second"] > heard["first"] > FRAMES
