"""The tracker: one number for one object, over gaps and near others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.tracking.tracker import Sighting, Tracker, TrackerState
from tests.support.examples import examples
from tests.support.video.walking_people import Walk
from tests.support.worlds.analytics_partition import (
    walks,
)


def follow(tracker: Tracker, found: Sequence[Walk], times: Iterable[float]) -> list[list[int | None]]:
    """Numbers by frame and walk; None where a walk is not seen."""
    out = []
    for time in times:
        there = [(i, box) for i, w in enumerate(found) if (box := w.box(time))]
        numbers, _ = tracker.match(time, [Sighting(found[i].label, found[i].score, box) for i, box in there], 16 / 9)
        row: list[int | None] = [None] * len(found)
        for (i, _), number in zip(there, numbers, strict=True):
            row[i] = number
        out.append(row)
    return out


def every(fps: int, seconds: float, hidden: tuple[float, float] = (0, 0)) -> list[float]:
    times = [k / fps for k in range(round(seconds * fps))]
    return [t for t in times if not hidden[0] < t < hidden[1]]


@pytest.mark.parametrize("to", [(0.5, 0.8), (0.7, 0.8), (0.55, 0.95), (0.3, 0.7)])
@pytest.mark.parametrize("gap_s", [1.0, 1.5, 2.0])
def test_a_hidden_object_keeps_its_track(to: tuple[float, float], gap_s: float) -> None:
    tracker = Tracker(lost_s=2.5)
    walk = Walk(0, 8, (0.5, 0.8), to)
    numbers: set[int | None] = set()
    for time in every(5, 8):
        box = walk.box(time)
        there = [Sighting("person", 0.8, box)] if box and not 4 < time < 4 + gap_s else []
        found, lost = tracker.match(time, there, 16 / 9)
        assert lost == []
        numbers |= set(found)
    assert numbers == {1}


def test_deferred_frames_lose_no_track() -> None:
    found = [Walk(0, 8, (0.2, 0.8), (0.4, 0.8)), Walk(0, 8, (0.8, 0.8), (0.8, 0.6))]
    rows = follow(Tracker(lost_s=2.5), found, every(5, 8, hidden=(3, 4.5)))
    assert rows[0] == rows[-1] and all(row == rows[0] for row in rows)


@pytest.mark.parametrize("gap_s", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("fps", [2, 5, 10])
def test_a_track_survives_a_gap_with_a_stop_a_turn_or_an_approach(fps: int, gap_s: float) -> None:
    end = 4 + gap_s
    before = [
        Walk(0, 4, (0.1, 0.9), (0.5, 0.9)),
        Walk(0, 4, (0.9, 0.3), (0.5, 0.3)),
        Walk(0, 4, (0.8, 0.6), (0.8, 0.7), size=(0.06, 0.25)),
    ]
    after = [
        Walk(end, end + 2, (0.52, 0.9), (0.52, 0.9)),
        Walk(end, end + 2, (0.47, 0.35), (0.47, 0.5)),
        Walk(end, end + 2, (0.8, 0.7 + 0.04 * gap_s), (0.8, 0.8), size=(0.08, 0.33)),
    ]
    tracker = Tracker(lost_s=2.0)
    first = follow(tracker, before, every(fps, 4))[-1]
    assert follow(tracker, after, [end + k / fps for k in range(2 * fps)]) == [first] * 2 * fps


@pytest.mark.parametrize("fps", [1, 2])
def test_the_others_keep_their_numbers_when_one_leaves_a_row_and_another_joins(fps: int) -> None:
    stood = [Walk(0, 9, (x, 0.8), (x, 0.8)) for x in (0.3, 0.36, 0.42, 0.48)]
    joined = Walk(0, 9, (0.54, 0.8), (0.54, 0.8))
    tracker = Tracker(lost_s=2.0)
    first = follow(tracker, stood, every(fps, 4))[-1]
    (row,) = follow(tracker, [*stood[1:], joined], [4.0])
    assert row == [*first[1:], 5]


@pytest.mark.parametrize("away_s", [1.0, 30.0, 3600.0])
def test_an_object_elsewhere_after_a_gap_is_a_new_track(away_s: float) -> None:
    tracker = Tracker(lost_s=2.0)
    follow(tracker, [Walk(0, 4, (0.1, 0.7), (0.1, 0.7))], every(5, 4))
    begin = 4 + away_s
    rows = follow(tracker, [Walk(begin, begin + 9, (0.9, 0.7), (0.9, 0.7))], [begin + k / 5 for k in range(5)])
    assert rows == [[2]] * 5


@given(st.lists(st.tuples(st.floats(0.02, 1e6), st.floats(0, 0.8), st.floats(0.01, 0.2)), min_size=1, max_size=30))
def test_gaps_of_any_length_keep_the_tracker_consistent(steps: list[tuple[float, float, float]]) -> None:
    tracker, time = Tracker(lost_s=2.0), 0.0
    with np.errstate(all="raise"):
        for passed, x, size in steps:
            time += passed
            tracker.match(time, [Sighting("person", 0.8, (x, x, x + size, x + size))], 16 / 9)
            for t in tracker.state.tracklets:
                assert t.p > 0 and t.v >= 0 and t.pv**2 <= t.p * t.v * (1 + 1e-6)


def test_an_object_away_too_long_returns_as_a_new_track() -> None:
    tracker = Tracker(lost_s=2.0)
    box = (0.4, 0.4, 0.5, 0.6)
    given_up: list[int] = []
    for time in every(5, 10):
        numbers, lost = tracker.match(time, [Sighting("person", 0.8, box)] if not 3 <= time < 7 else [], 16 / 9)
        given_up += lost
        assert numbers in ([1] if time < 3 else [2] if time >= 7 else [],)
    assert given_up == [1]


@pytest.mark.parametrize("apart", [0.25, 0.3, 0.4])
@pytest.mark.parametrize("fps", [4, 5, 10])
def test_two_objects_that_pass_at_a_distance_keep_their_numbers(apart: float, fps: int) -> None:
    found = [Walk(0, 8, (0.2, 0.95), (0.8, 0.95)), Walk(0, 8, (0.8, 0.95 - apart), (0.2, 0.95 - apart))]
    rows = follow(Tracker(lost_s=2.0), found, every(fps, 8))
    assert all(row == rows[0] for row in rows) and None not in rows[0] and rows[0][0] != rows[0][1]


def test_objects_with_different_labels_never_match() -> None:
    found = [Walk(0, 4, (0.5, 0.8), (0.5, 0.8)), Walk(4.2, 8, (0.5, 0.8), (0.5, 0.8), label="dog")]
    rows = follow(Tracker(lost_s=2.0), found, every(5, 8))
    assert rows[0][0] != rows[-1][1]


def test_an_uncertain_detection_extends_a_track_and_starts_none() -> None:
    sure, unsure = Walk(0, 2, (0.5, 0.8), (0.5, 0.8)), Walk(2.1, 8, (0.5, 0.8), (0.5, 0.8), score=0.2)
    rows = follow(Tracker(lost_s=2.0), [sure, unsure], every(5, 8))
    assert rows[-1] == [None, rows[0][0]]
    assert {n for row in follow(Tracker(lost_s=2.0), [unsure], every(5, 8)) for n in row} == {None}


@given(st.lists(walks(until=8), min_size=1, max_size=4), st.integers(0, 40), st.integers(0, 10))
@settings(max_examples=examples(40))
def test_a_tracker_continues_exactly_from_its_state(found: list[Walk], stop: int, hidden: int) -> None:
    times = every(5, 8, hidden=(4, 4 + hidden / 5))
    whole = Tracker(lost_s=1.0)
    expected = follow(whole, found, times)
    one = Tracker(lost_s=1.0)
    before = follow(one, found, times[:stop])
    other = Tracker(1.0, msgspec.msgpack.decode(msgspec.msgpack.encode(one.state), type=TrackerState))
    assert before + follow(other, found, times[stop:]) == expected
    assert msgspec.msgpack.encode(other.state) == msgspec.msgpack.encode(whole.state)


@given(st.lists(walks(until=8), min_size=1, max_size=5))
@settings(max_examples=examples(30))
def test_no_number_occurs_twice_in_a_frame(found: list[Walk]) -> None:
    for row in follow(Tracker(lost_s=1.0), found, every(5, 8)):
        given_out = [n for n in row if n is not None]
        assert len(set(given_out)) == len(given_out)
