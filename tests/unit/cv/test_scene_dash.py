"""CV_STATIC_SCENE_CHECK_S: how long somebody must be there, between two keyframes, to be noticed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cv.settings import CvSettings
from services.cv.static_scene.scene_check import CHECK_S, SceneCheck
from shared.runtime.errors import SettingError
from shared.runtime.settings import load
from shared.static_scene.picture import Grey
from tests.support.worlds.scenes import after, ground, seeds, seen

_FRAMES = 5
_STEP_S = 1 / _FRAMES


def _picture(seed: int, k: int, *, somebody: bool) -> Grey:
    there = ground(seed)
    if somebody:
        there[10:24, 13 + 4 * k : 19 + 4 * k] += 50
    return seen(there, seed + 20 + k)


def _check(seed: int, check_s: float, present: range, frames: int = _FRAMES) -> SceneCheck:
    """Check a segment of a second with `frames` wanted frames; somebody is in those of `present`."""
    check = SceneCheck(after(12, seed), watch=False, start=12.0, duration=1.0, check_s=check_s)
    for k in range(frames):
        if check.probe.enough(k / frames, _picture(seed, k, somebody=k in present)):
            break
    return check


@given(seeds, st.floats(0, 0.99), st.integers(0, _FRAMES - 1), st.integers(1, _FRAMES))
def test_nobody_is_missed_for_longer_than_the_setting(seed: int, check_s: float, first: int, count: int) -> None:
    """He is noticed if he stays for longer than the setting and two wanted frames are apart."""
    present = range(first, min(_FRAMES, first + count))
    check = _check(seed, check_s, present)
    stays = len(present) * _STEP_S
    if stays > max(check_s, _STEP_S) or first * _STEP_S < 1 - check_s - _STEP_S:
        assert check.differs
        assert check.match is None
    assert check.begins_differently == (first == 0)


@given(seeds, st.sampled_from([(0.0, 5), (0.2, 5), (0.25, 5), (0.4, 4), (0.5, 4), (0.6, 3), (0.8, 2), (1.0, 1)]))
def test_an_unchanged_segment_is_decoded_until_the_rest_is_short_enough(seed: int, case: tuple[float, int]) -> None:
    check_s, decoded = case
    check = _check(seed, check_s, range(0))
    assert check.match
    assert len(check.pictures) == decoded


@given(seeds, st.floats(0, 0.99), st.integers(1, _FRAMES))
def test_few_wanted_frames_suffice_if_all_match(seed: int, check_s: float, frames: int) -> None:
    """As while capacity is short: a full inference would see no other frames."""
    assert _check(seed, check_s, range(0), frames).match
    assert _check(seed, check_s, range(1), frames).match is None


@given(seeds, st.integers(1, _FRAMES))
def test_a_small_object_between_keyframes_differs_if_a_second_picture_has_it(seed: int, count: int) -> None:
    """In one picture alone it may be a drop."""
    check = SceneCheck(after(12, seed), watch=False, start=12.0, duration=1.0, check_s=0.0)
    for k in range(_FRAMES):
        there = ground(seed)
        if k >= _FRAMES - count:
            there[20:22, 30] += 45
        check.probe.enough(k * _STEP_S, seen(there, seed + 20 + k))
    assert check.differs == (count > 1)
    assert (check.match is None) == (count > 1)
    assert check.begins_differently == (count == _FRAMES)


@given(seeds)
def test_a_dash_between_keyframes_passes_unseen_by_default(seed: int) -> None:
    check = _check(seed, CHECK_S, range(1, _FRAMES))
    assert check.match
    assert len(check.pictures) == 1


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan", "often"])
def test_another_value_is_refused_with_the_remedy(value: str) -> None:
    wanted = f"CV_STATIC_SCENE_CHECK_S={value!r} can't be used: give a number from 0 up to 1"
    with pytest.raises(SettingError, match=re.escape(wanted)):
        load(CvSettings, {"CV_STATIC_SCENE_CHECK_S": value})
