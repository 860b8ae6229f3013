"""Which earlier answer of a model holds for new pictures, and for how long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.static_scene import answers, full_inference
from shared.static_scene.answers import Answers
from shared.static_scene.cache import MAX_AGE_S, AnswerCache, Key
from shared.static_scene.picture import SHAPE, Grey, small
from tests.support.worlds.scenes import ground, seeds, seen

LOBBY = Key("lobby", "model")


def empty(seed: int, n: int) -> Grey:
    return seen(ground(seed), 100 + n, 0.6)


def somebody(seed: int, n: int, x: int, y: int, contrast: float = 30.0) -> Grey:
    """As small as a person of a fortieth of the picture's height is: one block wide, and two high."""
    there = ground(seed)
    there[y : y + 2, x] += contrast
    return seen(there, 100 + n, 0.6)


def after(count: int, seed: int) -> Answers[str]:
    """Of an empty scene: one answer, and `count` reuses."""
    known: Answers[str] = answers.add(answers.new(), [empty(seed, 0)], 0.0, "nobody")
    for n in range(1, count + 1):
        found = answers.find(known, [empty(seed, n)], float(n), MAX_AGE_S)
        assert found and found.answer.value == "nobody"
        known = answers.record_match(known, found)
    return known


places = st.tuples(st.integers(1, SHAPE[1] - 2), st.integers(1, SHAPE[0] - 4))


@given(seeds, st.integers(0, 12), places, st.integers(0, 4))
def test_a_small_visitor_in_any_picture_needs_an_answer(seed: int, reuses: int, at: tuple[int, int], n: int) -> None:
    pictures = [empty(seed, 50 + k) for k in range(5)]
    pictures[n] = somebody(seed, 60, *at)
    assert answers.find(after(reuses, seed), pictures, 20.0, MAX_AGE_S) is None


@given(seeds, places, st.integers(1, 8))
def test_a_visitor_who_stays_has_an_answer_of_his_own(seed: int, at: tuple[int, int], stays: int) -> None:
    """Once he has left, the earlier answer holds again."""
    known = answers.add(after(3, seed), [somebody(seed, 60, *at)], 4.0, "somebody")
    for n in range(stays):
        found = answers.find(known, [somebody(seed, 61 + n, *at)], 5.0 + n, MAX_AGE_S)
        assert found and found.answer.value == "somebody"
        known = answers.record_match(known, found)
    found = answers.find(known, [empty(seed, 80)], 20.0, MAX_AGE_S)
    assert found and found.answer.value == "nobody"


@given(seeds, places)
def test_an_answer_about_something_that_moves_is_not_repeated(seed: int, at: tuple[int, int]) -> None:
    pictures = [empty(seed, 1), somebody(seed, 2, *at), empty(seed, 3)]
    assert not answers.add(answers.new(), pictures, 0.0, "somebody passes").answers


@given(seeds, st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_the_number_of_answers_has_a_limit_and_a_picture_has_one(seed: int, levels: list[float]) -> None:
    known: Answers[int] = answers.new()
    for n, _ in enumerate(levels):
        known = answers.add(known, [empty(seed + n, n)], float(n), n)
        known = answers.add(known, [empty(seed + n, n)], float(n), n)
        assert known.answers[0].value == n
    assert len(known.answers) == min(len(levels), answers.MAX_ANSWERS)


@given(seeds)
def test_nothing_is_repeated_in_a_restless_scene(seed: int) -> None:
    known = after(1, seed)
    restless = Answers(known.noise.__class__(np.full(SHAPE, 100.0, np.float32), 32.0), known.answers)
    assert answers.find(restless, [empty(seed, 2)], 2.0, MAX_AGE_S) is None


@given(seeds, st.floats(1, 900), st.floats(0, 2000))
def test_an_answer_has_a_maximum_age(seed: int, refresh_s: float, later: float) -> None:
    cache: AnswerCache[str] = AnswerCache(refresh_s)
    cache.add(LOBBY, [empty(seed, 0)], 0.0, "nobody")
    match = cache.find(cache.known(LOBBY, later, 0.0), [empty(seed, 1)], later)
    assert (match is not None) == (later <= max(MAX_AGE_S, refresh_s))


@given(seeds, st.integers(2, 60), st.integers(1, 4))
def test_each_interval_has_a_full_answer_on_any_number_of_replicas(seed: int, refresh_s: int, replicas: int) -> None:
    rng = np.random.default_rng(seed)
    caches: list[AnswerCache[int]] = [AnswerCache(float(refresh_s)) for _ in range(replicas)]
    full = []
    for n in range(3 * refresh_s):
        cache = caches[rng.integers(replicas)]
        match = cache.find(cache.known(LOBBY, float(n), 1.0), [empty(seed, n)], float(n))
        if match:
            cache.record_match(LOBBY, match)
        else:
            full.append(n)
            cache.add(LOBBY, [empty(seed, n)], float(n), n)
    assert max(np.diff([*full, 3 * refresh_s])) <= refresh_s
    due = sum(full_inference.falls_in("lobby", float(n), 1.0, float(refresh_s)) for n in range(3 * refresh_s))
    # A block's noise, which each replica learns by itself, is exceeded by chance.
    assert due <= len(full) <= due + 2 * replicas


@pytest.mark.parametrize("key", [Key("street", "model"), Key("lobby", "another model")])
def test_another_camera_or_model_has_no_answer(key: Key) -> None:
    cache: AnswerCache[str] = AnswerCache(300)
    cache.add(LOBBY, [empty(1, 0)], 0.0, "nobody")
    assert cache.find(cache.known(key, 1.0, 0.0), [empty(1, 1)], 1.0) is None
    cache.add(key, [empty(1, 0)], 1.0, "nobody")
    assert bool(cache.known(LOBBY, 1.0, 0.0).answers) == (key.camera != "lobby"), "another model forgets all"


def test_the_cameras_seen_last_are_remembered() -> None:
    cache: AnswerCache[str] = AnswerCache(300, max_cameras=2)
    keys = [Key(camera, "model") for camera in ("a", "b", "c")]
    for n, key in enumerate([keys[0], keys[1], keys[0], keys[2]]):
        cache.add(key, [empty(1, 0)], float(n), "nobody")
    assert [bool(cache.known(key, 4.0, 0.0).answers) for key in keys] == [True, False, True]


@pytest.mark.parametrize(("colour", "grey"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_the_small_picture_has_the_brightness_of_each_place(colour: tuple[int, int, int], grey: int) -> None:
    frame = np.zeros((270, 480, 3), np.uint8)
    frame[:, 240:] = colour
    found = small(frame)
    assert found.shape == SHAPE
    assert abs(found[:, :30].astype(int)).max() <= 1
    assert abs(found[:, 34:].astype(int) - grey).max() <= 1
