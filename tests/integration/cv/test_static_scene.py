"""A static scene costs little, and cv misses nothing for it: the pure parts, and cv on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.cv.app import attach
from services.cv.service import CvService
from services.cv.settings import CvSettings
from services.cv.static_scene import compare, entry, full_inference, scene
from services.cv.static_scene.entry import BadScene
from services.cv.static_scene.gate import WRITE_INTERVAL_S, Gate, SceneKey
from services.cv.static_scene.picture import SHAPE, SIZE, Grey
from services.cv.static_scene.scene import DIFFERENCE_DEVIATIONS, MAX_AGE_S, MAX_REFERENCES, Scene
from services.cv.static_scene.scene_check import SceneCheck
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.client import registry
from shared.contract import events, names
from shared.contract.cameras import new_camera
from shared.contract.events import DetectedObject, Detections, DetectionsRevision
from shared.contract.segment import to_headers
from shared.runtime.errors import BusError
from shared.runtime.telemetry import Health
from shared.video.decode import FrameProbe, decode
from shared.worker import Worker
from tests.support.processes.cv_worker import until_drained
from tests.support.processes.service import settled
from tests.support.video.static_scene import START, Squares, Walker, segments
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

LOBBY = SceneKey("lobby", "made")
SOMEBODY = DetectedObject(label="person", score=0.9, box=(0.2, 0.2, 0.3, 0.5))
seeds = st.integers(0, 2**32 - 1)


def ground(seed: int) -> np.ndarray:
    """A scene with patches of several blocks, as in real scenes."""
    rough = np.random.default_rng(seed).uniform(40, 160, (SHAPE[0] // 4, SHAPE[1] // 4))
    return np.kron(rough, np.ones((4, 4)))


def seen(of: np.ndarray, seed: int, level: float = 1.0) -> Grey:
    """A scene through a sensor."""
    noisy = of + np.random.default_rng(seed).normal(0, level, of.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def after(pictures: int, seed: int) -> Scene:
    """The scene after `pictures` full inferences of a still picture."""
    state = scene.new()
    for n in range(pictures):
        state, _ = scene.learn(state, [seen(ground(seed), seed + n)], float(n), [[]])
    return state


# ---- times of full inferences


@given(
    st.text("abcxyz0189", min_size=1, max_size=12),
    st.floats(1e9, 2e9),
    st.lists(st.floats(0.2, 8), min_size=1, max_size=60),
    st.floats(2, 60),
)
def test_each_full_inference_falls_in_one_segment(
    camera: str, begin: float, lengths: list[float], every_s: float
) -> None:
    starts = np.cumsum([begin, *lengths]).tolist()
    looks = sum(full_inference.falls_in(camera, a, b - a, every_s) for a, b in pairwise(starts))
    moments = (starts[-1] - begin) / every_s
    # A segment that is longer than the interval has several moments, and one full inference.
    assert looks <= moments + 1
    if max(lengths) <= every_s:
        assert looks >= moments - 1


def test_full_inferences_of_cameras_are_spread() -> None:
    looks = [sum(full_inference.falls_in(f"cam-{n}", t, 1.0, 10) for n in range(1000)) for t in range(100)]
    assert min(looks) > 60 and max(looks) < 150


# ---- differences


@given(seeds, st.floats(0.8, 1.25), st.floats(-20, 20), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_light_and_a_shaking_camera_cause_no_difference(
    seed: int, gain: float, offset: float, right: float, down: float
) -> None:
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    phase = seed % 100

    def smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 110 + 40 * np.sin(x / 5 + phase) * np.cos(y / 6)

    spread = np.full(SHAPE, 2.0, np.float32)
    reference = smooth(columns, rows).astype(np.float32)
    picture = seen(smooth(columns - right, rows - down) * gain + offset, seed)
    left = compare.unexplained(picture, reference, spread)
    assert left is not None
    assert compare.strength(left, spread) < DIFFERENCE_DEVIATIONS


@given(seeds, st.integers(0, SHAPE[1] - 3), st.integers(0, SHAPE[0] - 4), st.sampled_from([-40, -30, 30, 40]))
def test_a_person_of_a_few_blocks_is_a_difference_anywhere(seed: int, x: int, y: int, contrast: int) -> None:
    state = after(12, seed)
    there = ground(seed)
    there[y : y + 4, x : x + 3] += contrast
    assert scene.find_match(state, seen(there, seed + 99), 12.0) is None
    assert scene.find_match(state, seen(ground(seed), seed + 98), 12.0) is not None


@given(seeds)
def test_a_stopped_object_joins_the_reference_with_its_box(seed: int) -> None:
    state = after(12, seed)
    there = ground(seed)
    there[10:24, 13:19] += 50
    state, has_news = scene.learn(state, [seen(there, seed + 50)], 12.0, [[SOMEBODY]])
    assert has_news
    match = scene.find_match(state, seen(there, seed + 51), 13.0)
    assert match is not None
    assert (match.reference.since, match.reference.frames) == (12.0, [[SOMEBODY]])
    # The empty scene is not forgotten for it.
    departed = scene.find_match(scene.record_match(state, match), seen(ground(seed), seed + 52), 14.0)
    assert departed is not None
    assert list(departed.reference.frames) == [[]]


@given(seeds)
def test_an_expired_reference_frame_matches_nothing(seed: int) -> None:
    state = after(12, seed)
    picture = seen(ground(seed), seed + 60)
    assert scene.find_match(state, picture, 11 + MAX_AGE_S) is not None
    assert scene.find_match(state, picture, 12 + MAX_AGE_S) is None


@pytest.mark.slow
@given(seeds)
def test_moving_leaves_are_learned_without_effect_on_adjacent_blocks(seed: int) -> None:
    rng, state = np.random.default_rng(seed), scene.new()
    for n in range(40):
        there = ground(seed)
        there[20:26, 30:36] += rng.uniform(-30, 30)
        state, has_news = scene.learn(state, [seen(there, seed + n)], float(n), [[]])
        assert not has_news
    deviation = state.noise.deviation
    assert deviation[20:26, 30:36].mean() > 2 * np.median(deviation)
    assert np.median(deviation) < 2


@pytest.mark.slow
@given(seeds)
def test_a_detected_person_desensitises_no_block(seed: int) -> None:
    state = after(12, seed)
    before = state.noise.deviation
    for n in range(20):
        there = ground(seed)
        there[10:24, 13:19] += 50 if n % 2 else 0
        state, _ = scene.learn(state, [seen(there, seed + 70 + n)], 12.0 + n, [[SOMEBODY] if n % 2 else []])
    assert state.noise.deviation[10:24, 13:19].max() < before.max() + 2


@given(seeds, st.sampled_from([0.4, 1.0, 1.4, 2.0, 4.0, 10.0]), st.floats(0, 1))
def test_a_segment_matches_once_its_pictures_of_every_second_do(seed: int, duration: float, share: float) -> None:
    """Also a segment with a single keyframe in ten seconds, and a person for longer than a second."""
    state, comes = after(12, seed), share * duration
    for somebody in (False, True):
        check, enough, looked = SceneCheck(state, watch=False, start=12.0, duration=duration), False, 0
        for offset in np.arange(0, duration, 0.2).tolist():
            there = ground(seed)
            if somebody and offset >= comes:
                there[10:24, 13:19] += 50
            looked += 1
            if enough := check.probe.enough(offset, seen(there, seed + looked)):
                break
        if not somebody:
            assert enough
            assert check.match
            assert looked == 1 or duration > 1.5
        elif comes <= duration - 1.5 or comes == 0:
            assert not enough
            assert check.match is None
            assert check.differs


@given(seeds)
def test_a_full_inference_runs_even_without_a_change(seed: int) -> None:
    check = SceneCheck(after(12, seed), watch=True, start=12.0, duration=1.0)
    assert not check.probe.enough(0.0, seen(ground(seed), seed + 90))
    assert check.match is None
    assert not check.differs


def test_nothing_is_decoded_after_a_sufficient_probe(tmp_path: Path) -> None:
    (piece, *_) = segments(tmp_path / "still.mp4", 2)
    for is_enough, packets, pictures in ((True, 1, 0), (False, 5, 5)):
        seen_at, alive = list[float](), list[None]()
        probe = FrameProbe(SIZE, lambda offset, grey, at=seen_at, so=is_enough: bool(at.append(offset)) or so)  # type: ignore
        decoded = decode(piece.payload, fps=5, probe=probe, alive=lambda a=alive: a.append(None))  # type: ignore
        assert (len(alive), len(decoded.pictures)) == (packets, pictures)
        assert seen_at == ([0.0] if is_enough else [p.offset for p in decoded.pictures])
        assert decoded.damaged is None


# ---- shared entries


@given(seeds, seeds)
def test_merged_scenes_are_bounded_and_have_the_newest_references(a: int, b: int) -> None:
    ours, theirs = twice(after(6, a)), twice(after(9, b))
    both = scene.merge(ours, theirs)
    assert len(both.references) <= MAX_REFERENCES
    assert max(look.since for look in both.references) == max(
        look.since for look in (*ours.references, *theirs.references)
    )
    again = scene.merge(ours, ours)
    assert [look.since for look in again.references] == [look.since for look in ours.references]
    np.testing.assert_allclose(again.noise.variance, ours.noise.variance, rtol=1e-5)


@given(seeds)
def test_a_replica_uses_a_shared_scene_immediately(seed: int) -> None:
    data = entry.encode(twice(after(12, seed)), LOBBY.fingerprint)
    assert len(data) < 20_000
    gate = Gate(10)
    assert gate.must_read(LOBBY, 13.0)
    gate.adopt(LOBBY, data, 13.0)
    assert scene.find_match(gate.scene(LOBBY), seen(ground(seed), seed + 80), 13.0) is not None
    # It has nothing that others lack, and does not retry immediately.
    assert not gate.may_share(LOBBY)
    assert not gate.must_read(LOBBY, 14.0)


def test_an_entry_is_written_once_a_minute_of_the_cameras_time() -> None:
    gate, written = Gate(10), list[int]()
    for n in range(300):
        gate.learn(LOBBY, [seen(ground(1), n)], float(n), [[]])
        if gate.may_share(LOBBY):
            gate.share(LOBBY)
            written.append(n)
    assert written[0] < 5
    assert [b - a for a, b in pairwise(written)] == [WRITE_INTERVAL_S] * 4


@given(st.binary(max_size=300))
def test_an_invalid_entry_is_refused(data: bytes) -> None:
    with pytest.raises(BadScene):
        entry.decode(data, LOBBY.fingerprint, 1e9)


def test_an_unusable_entry_is_refused_with_the_reason() -> None:
    state = twice(after(12, 1))
    data = entry.encode(state, LOBBY.fingerprint)
    with pytest.raises(BadScene, match="another detector"):
        entry.decode(data, "other", 20.0)
    with pytest.raises(BadScene, match="future"):
        entry.decode(data, LOBBY.fingerprint, -100.0)
    other = msgspec.msgpack.encode(msgspec.msgpack.decode(data) | {"version": entry.VERSION + 1})
    with pytest.raises(BadScene, match="version"):
        entry.decode(other, LOBBY.fingerprint, 20.0)
    blind = msgspec.msgpack.encode(msgspec.msgpack.decode(data) | {"deviation": b"\xff" * SHAPE[0] * SHAPE[1]})
    with pytest.raises(BadScene, match="deviations"):
        entry.decode(blind, LOBBY.fingerprint, 20.0)
    blind = msgspec.msgpack.encode(msgspec.msgpack.decode(data) | {"deviation": b"\x80" * SHAPE[0] * SHAPE[1]})
    with pytest.raises(BadScene, match="half of its blocks"):
        entry.decode(blind, LOBBY.fingerprint, 20.0)
    with pytest.raises(BadScene, match="bytes"):
        entry.decode(data + bytes(entry.MOST_BYTES), LOBBY.fingerprint, 20.0)


@given(seeds)
def test_an_entry_decodes_to_its_scene(seed: int) -> None:
    state = twice(after(12, seed))
    found = entry.decode(entry.encode(state, LOBBY.fingerprint), LOBBY.fingerprint, 20.0)
    assert [(look.since, look.frames) for look in found.references] == [
        (look.since, look.frames) for look in state.references
    ]
    np.testing.assert_allclose(found.references[0].picture, state.references[0].picture, atol=0.51)
    np.testing.assert_allclose(found.noise.deviation, state.noise.deviation, atol=0.07)


def twice(state: Scene) -> Scene:
    """The state after a second sight of its last reference frame, so that it can be shared."""
    if state.last is None:
        return state
    match = scene.Match(state.last, np.zeros(SHAPE, np.float32))
    return scene.record_match(state, match)


# ---- cv on a real server


@contextlib.asynccontextmanager
async def cv(server: NatsServer, finder: Squares, **settings: float) -> AsyncIterator[None]:
    client = await bus.connect(server.settings("cv"), "cv")
    chosen = CvSettings(cv_fps=5.0, **settings)  # type: ignore[arg-type]
    service = attach(CvService(client, finder, chosen), client, chosen)
    consumers, later = [(names.MEDIA, "cv")], names.backfilling("cv")
    worker = Worker(
        client, service, chosen.worker(), Health(), consumers=consumers, backfill=later, extensions=service.extensions
    )
    async with until_drained(client, worker):
        yield


async def revised(admin: Client, n: int) -> DetectionsRevision:
    """The only revision: of the segment `n`, which already had an object that the next one shows."""
    js, subject = admin.jetstream(), names.event(DetectionsRevision.kind, "lobby")
    async with asyncio.timeout(patience_s()):
        while not (counts := (await js.stream_info(names.EVENTS, subjects_filter=subject)).state.subjects):
            await asyncio.sleep(0.05)
    assert list(counts.values()) == [1]
    raw = await js.get_msg(names.EVENTS, subject=subject, direct=True)
    found = events.decode(raw.data or b"", DetectionsRevision, raw.subject or "")
    assert (found.segment.n, found.revises) == (n, f"cv/squares/MEDIA/{found.segment.seq}")
    assert (found.lost, found.unchanged, len(found.frames)) == (None, None, 5)
    return found


async def send(admin: Client, pieces: Sequence[Piece]) -> None:
    """Send segments one by one, each after the previous one's answer, as a camera does."""
    stored: dict[str, int] = {}
    for piece in pieces:
        head = msgspec.structs.replace(piece.segment, key_seq=stored.get(piece.gop))
        ack = await admin.jetstream().publish(names.media("lobby"), piece.payload, headers=to_headers(head))
        stored[head.message_id] = ack.seq
        await settled(admin, "MEDIA", "cv")


async def stored_detections(admin: Client) -> list[Detections]:
    found = []
    js, seq = admin.jetstream(), 0
    info = await js.stream_info(names.EVENTS)
    while seq < info.state.last_seq:
        seq += 1
        raw = await js.get_msg(names.EVENTS, seq)
        if (raw.subject or "").startswith(names.event("detections", "")):
            found.append(events.decode(raw.data or b"", Detections, raw.subject or ""))
    return found


def walks(begin: float, end: float) -> Walker:
    return lambda t: (20 + round((t - begin) * 30), 100) if begin <= t < end else None


async def test_a_still_camera_seldom_uses_the_device(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    finder, pieces = Squares(), segments(tmp_path / "still.mp4", 40)
    async with cv(server, finder):
        await send(admin, pieces)
    found = await stored_detections(admin)
    assert len(found) == len(pieces) == 40
    # Four checks, and some full inferences at first.
    assert 5 * 4 <= finder.images <= 5 * 12
    quiet = [event for event in found if event.unchanged]
    assert len(quiet) == 40 - finder.images / 5
    assert all(len(event.frames) == 5 and not any(f.objects for f in event.frames) for event in quiet)
    assert all(START <= event.unchanged.since < event.start for event in quiet if event.unchanged)


async def test_a_walker_is_seen_on_entry_and_the_previous_segment_is_reanalysed(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """He comes half a second after a keyframe, and stands still from the 26th second on."""
    walker = lambda t: None if t < 20.5 else (20 + round((min(t, 26) - 20.5) * 30), 100)  # noqa: E731
    pieces = segments(tmp_path / "walker.mp4", 40, walker)
    async with cv(server, Squares()):
        await send(admin, pieces)
        before = await revised(admin, 20)
    assert [bool(f.objects) for f in before.frames] == [False, False, False, True, True]
    found = await stored_detections(admin)
    assert found[20].unchanged
    for event in found[21:27]:
        assert not event.unchanged
        assert all(f.objects for f in event.frames)
    # A stopped object stays an object, and costs little.
    quiet = [event for event in found[27:] if event.unchanged]
    assert len(quiet) >= 8
    assert all(f.objects[0].box[0] == pytest.approx((20 + 165) / 320, abs=0.02) for e in quiet for f in e.frames)


async def test_a_walker_is_seen_between_keyframes_four_seconds_apart(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    pieces = segments(tmp_path / "walker.mp4", 28, walks(22.5, 28), gop_s=4)
    assert sum(p.gop == p.segment.message_id for p in pieces) == 7
    async with cv(server, Squares()):
        await send(admin, pieces)
        before = await revised(admin, 22)
    assert [bool(f.objects) for f in before.frames] == [False, False, False, True, True]
    found = await stored_detections(admin)
    assert len(found) == len(pieces) == 28
    assert sum(event.unchanged is not None for event in found[:22]) >= 12
    assert not any(event.unchanged for event in found[23:])
    assert all(f.objects for event in found[23:] for f in event.frames)


async def test_a_replica_uses_the_scene_of_another(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """It defers the segment that the other replica reported unchanged."""
    pieces = segments(tmp_path / "walker.mp4", 30, walks(24.5, 30))
    one, other = Squares(), Squares()
    async with cv(server, one):
        await send(admin, pieces[:20])
        scenes = await admin.jetstream().key_value(names.SCENES)
        assert (await scenes.get("lobby")).value
    async with cv(server, other):
        await send(admin, pieces[20:25])
    async with cv(server, Squares()):
        await send(admin, pieces[25:])
        await revised(admin, 24)
    found = await stored_detections(admin)
    watched = sum(full_inference.falls_in("lobby", p.segment.start.timestamp(), 1.0, 10.0) for p in pieces[20:25])
    assert other.images == 5 * watched
    assert not any(event.unchanged for event in found[25:])


async def test_a_forged_scene_is_refused_and_learned_again(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    scenes = await admin.jetstream().key_value(names.SCENES)
    await scenes.put("lobby", b"\x81\xa7version\x63" + bytes(100))
    finder, pieces = Squares(), segments(tmp_path / "still.mp4", 15, walks(12, 15))
    async with cv(server, finder):
        await send(admin, pieces)
    found = await stored_detections(admin)
    assert any(event.unchanged for event in found[:12])
    assert all(f.objects for event in found[12:] for f in event.frames)
    now = await scenes.get("lobby")
    assert len(now.value or b"") > 3000


async def test_a_result_that_fails_to_be_published_counts_once(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, refused = bus.publish, list[str]()

    async def refuse_one(client: Client, js: Any, subject: str, payload: bytes, *rest: Any, **more: Any) -> Any:
        if subject == names.event("detections", "lobby") and b'"unchanged":{' in payload and not refused:
            refused.append(subject)
            raise BusError("refused")
        return await publish(client, js, subject, payload, *rest, **more)

    monkeypatch.setattr(bus, "publish", refuse_one)
    before = REGISTRY.get_sample_value("tidegate_static_scene_segments_total") or 0
    async with cv(server, Squares()):
        await send(admin, segments(tmp_path / "still.mp4", 12))
    unchanged = sum(event.unchanged is not None for event in await stored_detections(admin))
    assert refused
    assert REGISTRY.get_sample_value("tidegate_static_scene_segments_total") == before + unchanged


@pytest.mark.parametrize("how", ["always", "off"])
async def test_all_video_is_analysed_if_configured(server: NatsServer, admin: Client, tmp_path: Path, how: str) -> None:
    camera, _ = new_camera("rtsp://127.0.0.1/lobby", always=how == "always")
    await registry.put(admin.jetstream(), "lobby", camera, None)
    finder, pieces = Squares(), segments(tmp_path / "still.mp4", 12)
    async with cv(server, finder, cv_static_scene_refresh_s=0 if how == "off" else 10):
        await send(admin, pieces)
    assert finder.images == 5 * 12
    assert not any(event.unchanged for event in await stored_detections(admin))
