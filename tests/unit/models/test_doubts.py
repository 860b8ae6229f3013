"""What looks wrong with boxes: each check holds for every detector that has the fault, and for none without it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.events import Box, DetectedObject
from tidegate.models import doubts
from tidegate.models.doubts import Frames

MOVING = 0.1
SCORES = st.floats(0.1, 1)


def found(box: Box, score: float = 0.9) -> DetectedObject:
    return DetectedObject(label="person", score=score, box=box)


@st.composite
def boxes(draw: st.DrawFn, most: float = 0.8) -> Box:
    """A box with sides of up to `most` of the picture."""
    x, y = draw(st.floats(0, 1 - most)), draw(st.floats(0, 1 - most))
    return (x, y, x + draw(st.floats(0.01, most)), y + draw(st.floats(0.01, most)))


OBJECTS = st.builds(found, boxes(), SCORES)
FRAMES = st.lists(st.lists(OBJECTS, max_size=6), min_size=1, max_size=12)


@given(FRAMES, st.integers(1, 6))
def test_boxes_of_the_whole_picture_are_doubted_and_smaller_ones_are_not(frames: Frames, count: int) -> None:
    assert not doubts.covering(frames)
    whole = [[found((0.01, 0.0, 0.99, 0.99))] * count for _ in frames]
    assert f"in {len(frames)} of {len(frames)} frames" in doubts.covering(whole)


@given(FRAMES)
def test_one_close_up_among_many_frames_is_no_doubt(frames: Frames) -> None:
    rest = [*frames, *frames, [found((0, 0, 0.1, 0.1))]]
    assert not doubts.covering([[found((0, 0, 1, 1))], *rest])


@given(st.lists(OBJECTS, min_size=1, max_size=6), st.integers(3, 12), st.randoms())
def test_boxes_that_never_move_are_doubted_on_footage_that_moves(
    objects: list[DetectedObject], count: int, random: object
) -> None:
    frames = [random.sample(objects, len(objects)) for _ in range(count)]  # type: ignore[attr-defined]
    assert "never move" in doubts.frozen(frames, MOVING)
    assert not doubts.frozen(frames, 0.0)
    moved = [found((0.1, 0.1, 0.2 + 0.05 * (n % 2), 0.3)) for n in range(count)]
    assert not doubts.frozen([[*frame, other] for frame, other in zip(frames, moved, strict=True)], MOVING)


@given(FRAMES, st.floats(0.05, 1))
def test_nothing_is_doubted_exactly_if_no_score_counts(frames: Frames, least: float) -> None:
    best = max((o.score for frame in frames for o in frame), default=0.0)
    sentence = doubts.nothing(frames, least)
    assert bool(sentence) == (best < least)
    assert not sentence or ("not even" in sentence) == (best == 0)


@given(st.integers(doubts.ENOUGH, 60), st.floats(0.1, 0.9), st.randoms(use_true_random=False))
def test_scores_that_are_nearly_equal_are_doubted(count: int, score: float, random: object) -> None:
    box = (0.1, 0.1, 0.2, 0.2)
    jitter = [random.uniform(0, doubts.EQUAL * 0.9) for _ in range(count)]  # type: ignore[attr-defined]
    assert "untrained" in doubts.equal([[found(box, score + more)] for more in jitter])
    spread = [[found(box, 0.1 + 0.8 * n / (count - 1))] for n in range(count)]
    assert not doubts.equal(spread)
    assert not doubts.equal(spread[: doubts.ENOUGH - 1])


@given(FRAMES, st.floats(0, 1), st.floats(0, 1))
def test_all_doubts_together_are_those_of_each_check(frames: Frames, motion: float, least: float) -> None:
    counted = [[o for o in frame if o.score >= least] for frame in frames]
    each = (
        doubts.covering(counted),
        doubts.frozen(counted, motion),
        doubts.nothing(frames, least),
        doubts.equal(frames),
    )
    assert doubts.doubts(frames, motion=motion, least=least) == [sentence for sentence in each if sentence]


def test_motion_is_the_share_of_pixels_that_change() -> None:
    still = np.full((20, 30, 3), 90, np.uint8)
    half = still.copy()
    half[:10] = 200
    assert doubts.moving([still, still, still]) == 0.0
    assert doubts.moving([still, half]) == pytest.approx(0.5)
    assert doubts.moving([still]) == 0.0
