"""A full inference that loses an object is doubted: an absence needs two running, a presence one."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.cv.static_scene import entry, scene
from services.cv.static_scene.gate import Gate
from services.cv.static_scene.scene import ReferenceFrame, Scene
from services.cv.static_scene.scene_check import SceneCheck
from shared.contract.events import DetectedObject
from shared.static_scene.picture import Grey
from tests.support.worlds.scenes import LOBBY, SOMEBODY, after, ground, seeds, seen

_SECONDS, _COMES = 60, 8
_OTHER = DetectedObject(label="person", score=0.9, box=(0.6, 0.2, 0.7, 0.5))


def _standing(seed: int) -> np.ndarray:
    there = ground(seed)
    there[10:24, 13:19] += 50
    return there


def _looked(state: Scene, picture: Grey, at: float, frames: list[list[DetectedObject]]) -> Scene:
    return scene.learn(state, [picture], at, frames)[0]


def _trusted(seed: int) -> Scene:
    """A scene in which two full inferences have found somebody who stands there."""
    state = _looked(after(12, seed), seen(_standing(seed), seed + 30), 12.0, [[SOMEBODY]])
    return _looked(state, seen(_standing(seed), seed + 31), 13.0, [[SOMEBODY]])


def _match(state: Scene, seed: int, at: float) -> scene.Match:
    match = scene.find_match(state, seen(_standing(seed), seed + 40 + int(at)), at)
    assert match
    return match


class _Camera:
    """A camera on one of several replicas per second, and a detector that never misses twice running on a replica."""

    def __init__(self, seed: int, misses: list[bool], deals: list[int], light: dict[int, float], delay: int) -> None:
        self._seed, self._misses, self._deals, self._light, self._delay = seed, misses, deals, light, delay
        self._gates = [Gate(10), Gate(10), Gate(10)]
        self._missed = [False] * 3
        self._entry: bytes | None = None
        self._results: list[tuple[int, int, list[Grey], list[list[DetectedObject]]]] = []

    def publish(self, n: int) -> bool:
        """Publish a segment; return whether it has the person."""
        which = self._deals[n % len(self._deals)]
        gate = self._gates[which]
        self._learn(n)
        if gate.must_read(LOBBY, float(n)):
            gate.adopt(LOBBY, self._entry, float(n))
        watch = gate.is_full_inference_due(LOBBY, float(n), 1.0)
        check = SceneCheck(gate.scene(LOBBY), watch=watch, start=float(n), duration=1.0)
        there = (_standing if n >= _COMES else ground)(self._seed) * (1 + self._light.get(n // 12, 0.0))
        pictures = [seen(there, self._seed + 10 * n + k) for k in range(5)]
        if any(check.probe.enough(k / 5, picture) for k, picture in enumerate(pictures)) and check.match:
            gate.record_match(LOBBY, check.match)
            return any(check.match.objects(5))
        self._missed[which] = n > _COMES and not self._missed[which] and self._misses[n % len(self._misses)]
        is_found = n >= _COMES and not self._missed[which]
        self._results.append((n, which, pictures, [[SOMEBODY] if is_found else []] * 5))
        return is_found

    def _learn(self, now: int) -> None:
        ready = [result for result in self._results if result[0] + self._delay < now]
        self._results = [result for result in self._results if result[0] + self._delay >= now]
        for n, which, pictures, frames in ready:
            gate = self._gates[which]
            gate.learn(LOBBY, pictures, float(n), frames)
            if gate.may_share(LOBBY):
                gate.adopt(LOBBY, self._entry, float(now))
                if gate.may_share(LOBBY):
                    self._entry = gate.share(LOBBY)


@pytest.mark.slow
@given(
    seeds,
    st.lists(st.booleans(), min_size=3, max_size=20),
    st.lists(st.integers(0, 2), min_size=1, max_size=9),
    st.dictionaries(st.integers(1, 4), st.floats(-0.6, 0.6), max_size=2),
    st.integers(0, 2),
)
# A replica's first look at the person misses him, and its second one comes after a merge with an empty scene.
@example(seed=0, misses=[True, *[False] * 8], deals=[0, 1, *[0] * 6], light={}, delay=0)
# Sights with another reference end the doubt of the first.
@example(seed=0, misses=[True, False, True], deals=[0], light={1: 0.5}, delay=2)
def test_a_standing_person_is_never_absent_for_two_segments_of_a_replica(
    seed: int, misses: list[bool], deals: list[int], light: dict[int, float], delay: int
) -> None:
    camera = _Camera(seed, misses, deals, light, delay)
    published = [(deals[n % len(deals)], camera.publish(n)) for n in range(_SECONDS)]
    for which in range(3):
        mine = [has for replica, has in published[_COMES:] if replica == which]
        assert not any(not a and not b for a, b in pairwise(mine))


@given(seeds)
def test_an_absence_is_doubted_once_and_then_believed(seed: int) -> None:
    state = _trusted(seed)
    assert _match(state, seed, 14.0).is_sure
    state = _looked(state, seen(_standing(seed), seed + 32), 14.0, [[]])
    doubted = _match(state, seed, 15.0)
    assert (doubted.is_sure, doubted.objects(1)) == (False, [[SOMEBODY]])
    found = _match(_looked(state, seen(_standing(seed), seed + 33), 15.0, [[SOMEBODY]]), seed, 16.0)
    assert (found.is_sure, found.objects(1)) == (True, [[SOMEBODY]])
    lost = _match(_looked(state, seen(_standing(seed), seed + 33), 15.0, [[]]), seed, 16.0)
    assert (lost.is_sure, lost.objects(1)) == (True, [[]])


@given(seeds)
def test_each_object_has_its_own_two_misses(seed: int) -> None:
    state = _trusted(seed)
    for n, frame in enumerate(([SOMEBODY, _OTHER], [_OTHER], [SOMEBODY])):
        state = _looked(state, seen(_standing(seed), seed + 50 + n), 14.0 + n, [frame])
    match = _match(state, seed, 17.0)
    assert not match.is_sure
    assert match.objects(1) == [[SOMEBODY, _OTHER]]


@given(seeds)
def test_one_full_inference_of_another_picture_is_not_enough(seed: int) -> None:
    state = _looked(after(12, seed), seen(_standing(seed), seed + 30), 12.0, [[]])
    assert not _match(state, seed, 13.0).is_sure
    state = _looked(state, seen(_standing(seed), seed + 31), 13.0, [[SOMEBODY]])
    match = _match(state, seed, 14.0)
    assert (match.is_sure, match.objects(1)) == (True, [[SOMEBODY]])


@given(seeds)
def test_a_newer_scene_of_another_replica_without_the_object_is_doubted(seed: int) -> None:
    ours, theirs = _trusted(seed), after(12, seed)
    for n in range(2):
        theirs = _looked(theirs, seen(_standing(seed), seed + 60 + n), 14.0 + n, [[]])
    assert _match(theirs, seed, 16.0).objects(1) == [[]]
    match = _match(scene.merge(ours, theirs), seed, 16.0)
    assert (match.is_sure, match.objects(1)) == (False, [[SOMEBODY]])
    # What only the older one lacks is there.
    match = _match(scene.merge(theirs, ours), seed, 16.0)
    assert (match.is_sure, match.objects(1)) == (False, [[SOMEBODY]])


@given(seeds)
def test_a_visitor_of_a_part_of_a_segment_is_in_no_reference(seed: int) -> None:
    state = after(12, seed)
    pictures = [seen((_standing if k < 2 else ground)(seed), seed + 70 + k) for k in range(5)]
    state, has_news = scene.learn(state, pictures, 12.0, [[SOMEBODY], [SOMEBODY], [], [], []])
    assert has_news
    match = scene.find_match(state, seen(ground(seed), seed + 80), 13.0)
    assert match
    assert match.is_sure
    assert not any(match.objects(5))


class _Former(msgspec.Struct, frozen=True, array_like=True):
    """A reference in the entries of the version before doubt."""

    since: float
    times: Annotated[float, msgspec.Meta(ge=0, le=1)]
    picture: bytes
    frames: list[list[DetectedObject]]


def test_replicas_of_both_versions_read_each_others_entries() -> None:
    state = _looked(_trusted(1), seen(_standing(1), 32), 14.0, [[]])
    data = entry.encode(state, LOBBY.fingerprint)
    mine = entry.decode(data, LOBBY.fingerprint, 20.0)
    assert [list(one.doubted) for one in mine.references] == [list(one.doubted) for one in state.references]
    assert any(one.doubted for one in mine.references)
    raw: dict[str, Any] = msgspec.msgpack.decode(data)
    former = msgspec.convert(raw["looks"], list[_Former])
    assert [one.frames for one in former] == [one.frames for one in mine.references]
    again = entry.decode(msgspec.msgpack.encode(raw | {"looks": former}), LOBBY.fingerprint, 20.0)
    assert [one.frames for one in again.references] == [one.frames for one in mine.references]
    assert not any(one.doubted for one in again.references)


def test_a_reference_with_too_many_bytes_is_not_shared() -> None:
    crowd = [[msgspec.structs.replace(SOMEBODY, score=k / 100) for k in range(entry.MOST_OBJECTS)]] * entry.MOST_FRAMES
    state = _trusted(1)
    large = tuple(ReferenceFrame(one.since, one.picture, crowd) for one in state.references)
    data = entry.encode(msgspec.structs.replace(state, references=large), LOBBY.fingerprint)
    assert entry.decode(data, LOBBY.fingerprint, 20.0).references == ()
