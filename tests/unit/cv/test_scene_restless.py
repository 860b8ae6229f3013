"""Scenes that change by themselves: rain is no visitor, and what could hide one is analysed in full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cv.static_scene import entry, scene
from services.cv.static_scene.gate import Gate
from services.cv.static_scene.scene import Scene
from services.cv.static_scene.scene_check import SceneCheck
from shared.static_scene.picture import SHAPE, Grey
from tests.support.worlds.scenes import LOBBY, SOMEBODY, after, ground, seeds, seen


def _check(state: Scene, pictures: list[Grey], step_s: float = 0.2) -> SceneCheck:
    check = SceneCheck(state, watch=False, start=12.0, duration=1.0)
    any(check.probe.enough(k * step_s, picture) for k, picture in enumerate(pictures))
    return check


def _rain(seed: int, count: int) -> list[Grey]:
    """Five pictures with drops, in another place of each."""
    rng, pictures = np.random.default_rng(seed), []
    columns = rng.permutation(SHAPE[1] // 4)
    for k in range(5):
        there = ground(seed)
        for column in columns[k * count : (k + 1) * count]:
            top = int(rng.integers(0, SHAPE[0] - 3))
            there[top : top + 3, 4 * column] += 40
        pictures.append(seen(there, seed + 20 + k))
    return pictures


@given(seeds, st.integers(1, 3))
def test_rain_is_no_difference(seed: int, count: int) -> None:
    check = _check(after(12, seed), _rain(seed, count))
    assert check.match
    assert 1 < len(check.pictures) < 5


@given(seeds)
def test_frames_too_far_apart_do_not_tell_rain_from_a_visitor(seed: int) -> None:
    check = _check(after(12, seed), _rain(seed, 2)[:2], step_s=0.5)
    assert check.match is None
    assert check.differs


@given(seeds, st.integers(4, SHAPE[1] - 8), st.integers(2, SHAPE[0] - 6), st.integers(-1, 1), st.booleans())
def test_a_small_walker_is_a_difference_in_rain_too(seed: int, x: int, y: int, step: int, rains: bool) -> None:
    pictures = []
    for k, rain in enumerate(_rain(seed, 2)):
        there = rain.astype(float) if rains else ground(seed)
        there[y : y + 2, x + step * (k // 2)] += 45
        pictures.append(seen(there, seed + 40 + k))
    check = _check(after(12, seed), pictures)
    assert check.match is None
    assert check.differs


@given(seeds)
def test_rain_leaves_no_trace_in_a_reference(seed: int) -> None:
    state, _ = scene.learn(scene.new(), _rain(seed, 3), 0.0, [[]])
    assert state.last
    assert np.abs(state.last.picture - ground(seed)).max() < 12


def _shaded(gate: Gate, share: float) -> None:
    rng = np.random.default_rng(7)
    for n in range(120):
        there = ground(1)
        there[:, : int(share * SHAPE[1])] += rng.uniform(-20, 20, (SHAPE[0], int(share * SHAPE[1])))
        gate.learn(LOBBY, [seen(there, n)], float(n), [[]])


@pytest.mark.slow
def test_a_restless_scene_is_analysed_in_full_and_not_shared() -> None:
    gate = Gate(10)
    _shaded(gate, 0.1)
    state = gate.scene(LOBBY)
    assert state.is_restless
    check = _check(state, [seen(ground(1), 500 + k) for k in range(5)])
    assert check.match is None
    assert not check.differs
    assert not gate.may_share(LOBBY)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.4, 0.6, 1.0])
def test_no_replica_writes_an_entry_that_others_refuse(share: float) -> None:
    gate, written, width = Gate(10), 0, int(share * SHAPE[1])
    for n in range(0, 1200, 5):
        there, level = ground(1), min(20, n / 40)
        there[:, :width] += np.random.default_rng(n).uniform(-level, level, (SHAPE[0], width))
        gate.learn(LOBBY, [seen(there, n)], float(n), [[SOMEBODY]])
        if gate.may_share(LOBBY):
            entry.decode(gate.share(LOBBY), LOBBY.fingerprint, float(n))
            written += 1
    assert written
