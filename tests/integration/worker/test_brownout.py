"""The longer a segment has waited, by the server's clock, the fewer frames are analysed; the event has both numbers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from shared.bus import clock
from shared.client import registry
from shared.contract import names
from shared.contract.cameras import new_camera
from shared.contract.events import Detections, Quality
from shared.contract.segment import to_headers
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.elastic.brownout import TUNING, TURN_S, Brownout, place
from shared.elastic.costs import CostMeter, DecodeWork, RelativeCosts
from shared.elastic.levels import LEVELS, Level
from shared.elastic.sampling_plan import SamplingPlan
from shared.worker.extensions.effort import Effort
from shared.worker.service import Message
from tests.support.processes.cv_worker import detecting, segment_head
from tests.support.processes.service import settled
from tests.support.video import footage
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

RATES = st.floats(0.1, 60)
AGES = st.floats(0, 1e4)
PLACES = st.floats(0, 1)
FRAMES = 25

# ---- the rule


@given(st.floats(0.01, 600), AGES, AGES, st.booleans())
def test_an_older_segment_is_never_analysed_in_more_detail(target: float, a: float, b: float, high: bool) -> None:
    younger, older = sorted((a, b))
    assert Brownout(target).level(younger, high=high) <= Brownout(target).level(older, high=high)


@given(st.floats(0.01, 600), AGES)
def test_a_high_priority_camera_is_never_analysed_less(target: float, age: float) -> None:
    assert Brownout(target).level(age, high=True) <= Brownout(target).level(age)


@given(st.floats(0.01, 600))
def test_at_the_target_all_work_is_at_the_floor(target: float) -> None:
    brownout = Brownout(target)
    assert LEVELS[brownout.level(target)].share == 0
    assert brownout.level(0.0) == 0


@given(st.floats(0.01, 600), AGES, PLACES, PLACES)
def test_a_high_priority_camera_degrades_after_all_others(
    target: float, age: float, place: float, other: float
) -> None:
    brownout = Brownout(target)
    if brownout.level(age, place=place, high=True):
        assert brownout.level(age, place=other)


@given(st.floats(0.01, 600), st.floats(0, 1), st.floats(0, 0.2))
def test_a_varying_age_flaps_only_cameras_near_the_threshold(target: float, age: float, wavers: float) -> None:
    """The fraction of cameras that change their level is the fraction of the spread over which the age varies."""
    brownout = Brownout(target)
    places = [(n + 0.5) / 100 for n in range(100)]
    changed = sum(
        brownout.level(age * target, place=place) != brownout.level((age + wavers) * target, place=place)
        for place in places
    )
    assert changed <= 100 * wavers / TUNING.spread + 2


def test_cameras_are_spread_evenly_and_change_places_every_minute() -> None:
    at = 1_764_000_000.0
    before, after = ([place(f"media.gate-{n}", at + more) for n in range(1000)] for more in (0.0, TURN_S))
    assert before == [place(f"media.gate-{n}", at + TURN_S / 2) for n in range(1000)]
    for places in (before, after):
        assert all(80 <= sum(k / 10 <= p < (k + 1) / 10 for p in places) <= 120 for k in range(10))
    assert abs(sum((a - 0.5) * (b - 0.5) for a, b in zip(before, after, strict=True))) / 1000 < 0.02


@given(st.sampled_from(LEVELS), RATES, RATES)
def test_frames_are_between_the_floor_and_the_wanted_number(level: Level, wanted: float, floor: float) -> None:
    fps = level.fps(wanted, floor)
    assert min(wanted, floor) * (1 - 1e-9) <= fps <= wanted * (1 + 1e-9)


@given(st.sampled_from(LEVELS), RATES, RATES, st.floats(0.2, 20), st.integers(1, 600))
def test_a_sampling_plan_has_a_quality_only_if_it_skips_frames(
    level: Level, wanted: float, floor: float, duration: float, frames: int
) -> None:
    look = SamplingPlan.of(
        level, wanted=wanted, floor=floor, duration=duration, frames=frames, megapixels=2.0, images=3
    )
    assert 1 <= look.frames <= look.wanted <= frames
    assert look.rest <= look.wanted_rest < frames * 2.0
    assert (look.quality is None) == (look.frames == look.wanted)


# ---- cost


def test_a_segment_costs_the_slower_of_decoding_and_computing() -> None:
    costs = CostMeter(threads=2)
    costs.record_decode(DecodeWork(key=2.0, rest=48.0, key_s=0.02, rest_s=0.06))
    costs.record_batch(images=10, seconds=0.3)
    assert costs.replica_s(key=2.0, rest=48.0, images=1) == pytest.approx(0.04)
    assert costs.replica_s(key=2.0, rest=48.0, images=5) == pytest.approx(0.15)


RESTS = st.just(0.0) | st.floats(0.1, 200)


@given(st.lists(st.tuples(st.floats(0.1, 10), RESTS, st.floats(1e-3, 1), st.floats(0, 1)), min_size=1))
def test_fewer_frames_never_cost_more(works: list[tuple[float, float, float, float]]) -> None:
    costs = CostMeter(threads=1)
    for work in works:
        costs.record_decode(DecodeWork(*work))
        costs.record_batch(images=5, seconds=work[2])
    full, floor = (
        SamplingPlan.of(level, wanted=5, floor=1, duration=1, frames=FRAMES, megapixels=2.0, images=1)
        for level in (LEVELS[0], LEVELS[-1])
    )
    assert costs.replica_s(floor.key, floor.rest, floor.frames) <= costs.replica_s(full.key, full.rest, full.wanted)


def test_keyframes_alone_do_not_predict_the_cost_of_all_frames() -> None:
    """The estimated cost of all frames stays accurate, however long the floor lasts."""
    costs = CostMeter(threads=1)
    costs.record_decode(DecodeWork(key=2.0, rest=48.0, key_s=0.02, rest_s=0.06))
    for _ in range(1000):
        costs.record_decode(DecodeWork(key=2.0, rest=0.0, key_s=0.02, rest_s=0.001))
    assert costs.replica_s(key=2.0, rest=48.0, images=0) == pytest.approx(0.081, rel=0.02)


def test_a_replica_that_starts_in_a_surge_knows_that_all_frames_cost_more() -> None:
    costs = CostMeter(threads=1)
    costs.record_decode(DecodeWork(key=2.0, rest=0.0, key_s=0.02, rest_s=0.001))
    assert costs.replica_s(key=2.0, rest=48.0, images=0) > 2 * costs.replica_s(key=2.0, rest=0.0, images=0)


@pytest.mark.parametrize(("fast", "slow"), [(1.0, 1.0), (0.2, 0.2), (0.2, 0.6), (0.6, 0.2)])
def test_frames_of_a_slow_model_count_for_more(fast: float, slow: float) -> None:
    """Of ten cameras, two have a model of ten times the cost, and another priority. fast, slow: analysed shares."""
    costs, relative = CostMeter(threads=1), RelativeCosts()
    cost_s = {"fast": 0.015, "slow": 0.15}
    cameras = [("fast", round(5 * fast))] * 8 + [("slow", round(5 * slow))] * 2
    for _ in range(100):
        weights = {model: relative.of(model) for model in cost_s}
        for model, images in cameras:
            relative.record(model, images, images * cost_s[model])
            costs.record_batch(images * weights[model], images * cost_s[model])
    wanted, work = (
        sum(costs.replica_s(0, 0, images(n) * relative.of(model)) for model, n in cameras)
        for images in (lambda _: 5, lambda n: n)
    )
    share = sum(n * cost_s[model] for model, n in cameras) / sum(5 * cost_s[model] for model, _ in cameras)
    assert work / wanted == pytest.approx(share, rel=0.05)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(1e-6, 10))))
def test_an_only_model_costs_the_mean(calls: list[tuple[int, float]]) -> None:
    costs = RelativeCosts()
    for images, seconds in calls:
        costs.record("ssd", images, seconds)
        assert costs.of("ssd") == 1.0
    assert costs.of("new") == 1.0


# ---- cv, on a real server


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second of video in a segment."""
    return footage.make(tmp_path_factory.mktemp("second") / "second.mp4", frames=FRAMES).read_bytes()


async def stored(admin: Client, payload: bytes, count: int = 3, camera: str = "lobby", first: int = 0) -> None:
    for n in range(first, first + count):
        head = segment_head(n, camera=camera, frames=FRAMES, size=(320, 240))
        await admin.jetstream().publish(names.media(camera), payload, headers=to_headers(head))


async def stored_detections(admin: Client) -> list[Detections]:
    await settled(admin, "MEDIA", "cv")
    js = admin.jetstream()
    state = (await js.stream_info("EVENTS")).state
    found = [await js.get_msg("EVENTS", seq, direct=True) for seq in range(state.first_seq, state.last_seq + 1)]
    return [msgspec.json.decode(m.data or b"", type=Detections) for m in found if "detections" in (m.subject or "")]


async def aged(seconds: float) -> None:
    """Let stored messages wait for at least that long."""
    await asyncio.sleep(seconds)


async def test_a_late_segment_is_partially_analysed(server: NatsServer, admin: Client, second: bytes) -> None:
    await stored(admin, second)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=0.1):
        events = await stored_detections(admin)
    assert [len(e.frames) for e in events] == [1, 1, 1]
    assert {e.quality for e in events} == {Quality(fps=1.0, wanted=5.0, cause="backlog")}


async def test_nothing_degrades_without_a_target(server: NatsServer, admin: Client, second: bytes) -> None:
    await stored(admin, second)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0):
        events = await stored_detections(admin)
    assert [len(e.frames) for e in events] == [5, 5, 5]
    assert {e.quality for e in events} == {None}


async def test_a_timely_segment_is_fully_analysed(server: NatsServer, admin: Client, second: bytes) -> None:
    await stored(admin, second)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=3600.0):
        events = await stored_detections(admin)
    assert [(len(e.frames), e.quality) for e in events] == [(5, None)] * 3


async def test_every_segment_gets_at_least_the_floor(server: NatsServer, admin: Client, second: bytes) -> None:
    await stored(admin, second)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=0.1, cv_fps_floor=3.0):
        events = await stored_detections(admin)
    assert [len(e.frames) for e in events] == [3, 3, 3]


async def test_a_camera_that_wants_no_more_than_the_floor_loses_nothing(
    server: NatsServer, admin: Client, second: bytes
) -> None:
    await registry.put(admin.jetstream(), "lobby", *new_camera("rtsp://camera/1", fps=1.0))
    await stored(admin, second)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=0.1):
        events = await stored_detections(admin)
    assert [(len(e.frames), e.quality) for e in events] == [(1, None)] * 3


async def test_cv_knows_the_high_priority_cameras(
    server: NatsServer, admin: Client, second: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def level(self: Effort, message: Message, high: bool) -> Level:
        return LEVELS[0] if high else LEVELS[-1]

    monkeypatch.setattr(Effort, "level", level)
    await registry.put(admin.jetstream(), "gate", *new_camera("rtsp://camera/2", priority="high"))
    await stored(admin, second, camera="gate")
    await stored(admin, second, camera="lobby")
    async with detecting(server, cv_static_scene_refresh_s=0.0):
        events = await stored_detections(admin)
    assert {(e.camera, len(e.frames)) for e in events} == {("gate", 5), ("lobby", 1)}


@pytest.mark.parametrize("ahead_s", [-7200.0, 7200.0])
async def test_ages_use_the_servers_clock(
    server: NatsServer, admin: Client, second: bytes, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """A worker whose clock is two hours off degrades neither all segments nor none."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + ahead_s)
    await stored(admin, second)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=3600.0):
        assert {e.quality for e in await stored_detections(admin)} == {None}
    await stored(admin, second, first=3)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=0.1):
        assert [len(e.frames) for e in await stored_detections(admin)] == [5, 5, 5, 1, 1, 1]


async def test_a_worker_degrades_by_its_own_clock_without_the_servers(
    server: NatsServer, admin: Client, second: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> float:
        raise TimeoutError

    monkeypatch.setattr(clock, "read", refuse)
    await stored(admin, second)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=0.1):
        assert [len(e.frames) for e in await stored_detections(admin)] == [1, 1, 1]


async def test_the_servers_clock_can_be_read(server: NatsServer, admin: Client) -> None:
    before = time.time()
    assert before - 0.1 <= await clock.read(admin, "MEDIA", "cv") <= time.time() + 0.1


async def test_a_heartbeat_has_wanted_and_analysed_frames(server: NatsServer, admin: Client, second: bytes) -> None:
    heard = await hearing(admin)
    await stored(admin, second)
    await aged(0.2)
    async with detecting(server, cv_static_scene_refresh_s=0.0, cv_latency_target_s=0.1):
        await until_heard(heard, lambda beat: beat.processed == 3)
    beat = heard[-1]
    assert (beat.frames_wanted, beat.frames_analysed, beat.frames_never) == (15, 3, 0)
    assert 0 < beat.work_s < beat.wanted_s


async def test_a_worker_without_degradation_reports_no_frames(server: NatsServer, admin: Client, second: bytes) -> None:
    """The scaler plans a leaner fleet by them, which is right only if a fleet that is too small degrades."""
    heard = await hearing(admin)
    await stored(admin, second)
    async with detecting(server, cv_static_scene_refresh_s=0.0):
        await until_heard(heard, lambda beat: beat.processed == 3)
    assert (heard[-1].frames_wanted, heard[-1].wanted_s) == (0, 0.0)


async def hearing(admin: Client) -> list[WorkerStats]:
    """The heartbeats of cv's workers from now on."""
    heard: list[WorkerStats] = []

    async def hear(message: Msg) -> None:
        heard.append(stats.decode(message.data))

    await admin.subscribe(names.stats("cv", "*"), cb=hear)
    return heard


async def until_heard(heard: list[WorkerStats], right: Callable[[WorkerStats], bool]) -> None:
    async with asyncio.timeout(patience_s()):
        while not (heard and right(heard[-1])):
            await asyncio.sleep(0.05)


# ---- settings


def test_the_target_reaches_the_loop_and_is_off_by_default() -> None:
    assert CvSettings().worker().latency_target_s == EmbedSettings().worker().latency_target_s == 0
    assert CvSettings(cv_latency_target_s=2.0).worker().latency_target_s == 2.0
    assert EmbedSettings(embed_latency_target_s=3.0).worker().latency_target_s == 3.0
