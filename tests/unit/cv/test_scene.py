"""Scenes: differences, references, and entries that replicas share."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cv.static_scene import entry, scene
from services.cv.static_scene.entry import BadScene
from services.cv.static_scene.gate import WRITE_INTERVAL_S, Gate
from services.cv.static_scene.scene import DIFFERENCE_DEVIATIONS, MAX_AGE_S, MAX_REFERENCES
from services.cv.static_scene.scene_check import SceneCheck
from shared.static_scene import compare, full_inference
from shared.static_scene.picture import SHAPE, SIZE
from shared.video.decode import FrameProbe, decode
from tests.support.video.static_scene import segments
from tests.support.worlds.scenes import LOBBY, SOMEBODY, after, ground, seeds, seen, twice


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
    assert not compare.odd_blocks(left, spread, DIFFERENCE_DEVIATIONS).any()


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
