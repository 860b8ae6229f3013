"""Tracks as events: frames, positions and motion."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.analytics.limits import Limits
from shared.contract import events
from shared.contract.events import Counts, Event, Incident, Track
from shared.contract.rules import Rules
from tests.support import schemas
from tests.support.examples import examples
from tests.support.video.walking_people import START, Walk, detections
from tests.support.worlds.analytics_partition import (
    BEGIN,
    BOOK,
    in_time,
    of,
    play,
    tracks,
    two_connections,
    walks,
)
from tests.support.worlds.camera_runs import KINDS, NONE, blinded, ids


@given(st.lists(walks(), min_size=1, max_size=4))
# Unseen for a second as the video ends, and there again when it comes back.
@example(
    [Walk(0, 11, (0.5, 0.5), (0.5, 0.5), size=(0.12, 0.12)), Walk(14, 26, (0.5, 0.5), (0.5, 0.5), size=(0.12, 0.12))]
)
@settings(max_examples=examples(25))
def test_every_track_starts_once_ends_once_and_reports_all_its_frames(found: list[Walk]) -> None:
    scene = two_connections(found)
    frames = [f.time for e in scene for f in e.frames]
    outs = play(in_time(scene))
    by_id: dict[str, list[Track]] = {}
    for t in tracks(outs):
        by_id.setdefault(t.id, []).append(t)
    for life in by_id.values():
        states = [t.state for t in life if t.state != "update"]
        assert states in (["new", "end"], ["end"]) and life[-1].state == "end"
        path = [p for t in life for p in t.path]
        first, last = life[-1].first, life[-1].last
        assert [p.time for p in path] == [f for f in frames if first <= f <= last]
        assert path[0].score is not None and path[-1].score is not None
    for out in outs:
        if isinstance(out.what, Event):
            schemas.of_events().validate(json.loads(events.encode(out.what)))
            assert msgspec.json.decode(events.encode(out.what), type=KINDS[out.what.kind]) == out.what


def test_missed_frames_are_interpolated() -> None:
    walk = Walk(0, 10, (0.1, 0.8), (0.9, 0.8))
    found = detections([walk], 10, start=BEGIN)
    found[4] = blinded(found[4])
    outs = play(in_time(found), NONE)
    assert len(set(ids(outs, "end"))) == 1
    path = [p for t in tracks(outs) for p in t.path]
    missed = [p for p in path if p.score is None]
    assert [p.time for p in missed] == [f.time for f in found[4].frames]
    for p in missed:
        assert p.box == pytest.approx(walk.box((p.time - BEGIN).total_seconds()), abs=1e-3)


@pytest.mark.parametrize(("fps", "looked"), [(5.0, 5), (10.0, 10), (2.0, 2)])
def test_excess_frames_are_sampled_and_the_others_interpolated(fps: float, looked: int) -> None:
    found = detections([Walk(0, 100, (0.2, 0.8), (0.8, 0.8))], 6, fps=10)
    limits = Limits(fps=fps)
    path = [p for t in tracks(play(in_time(found), limits=limits)) for p in t.path]
    seen = [p for p in path if p.score is not None]
    assert len(seen) == 6 * looked
    # Nothing is known after the last analysed frame.
    assert len(path) == 60 - (10 // looked - 1)
    # The object walks at an even pace: interpolated points lie on its path.
    for p in path:
        time = (p.time - START).total_seconds()
        assert (p.box[0] + p.box[2]) / 2 == pytest.approx(0.2 + 0.6 * time / 100, abs=0.001)


def test_a_detection_in_a_single_frame_is_no_object() -> None:
    found = detections([Walk(2.0, 2.05, (0.5, 0.8), (0.5, 0.8)), Walk(1, 8, (0.2, 0.8), (0.2, 0.8))], 9, start=BEGIN)
    outs = play(in_time(found), NONE)
    assert len(ids(outs)) == len(ids(outs, "end")) == 1
    assert of(outs, Counts)[0].labels["person"].objects == 1


def test_a_track_reports_position_and_motion() -> None:
    walk = Walk(0, 8, (0.1, 0.8), (0.9, 0.8))
    outs = play(in_time(detections([walk], 9, start=BEGIN)), BOOK)
    for t in tracks(outs):
        time = (t.last - BEGIN).total_seconds()
        assert t.box == pytest.approx(walk.box(time), abs=1e-3)
        if t.state == "update":
            assert t.speed == pytest.approx(0.1 * 1280 / 720, rel=0.05) and not t.stationary
            assert t.direction == pytest.approx(90, abs=2)
    assert {zone for t in tracks(outs) for zone in t.zones} == {"door", "left"}


def test_a_still_object_is_stationary_without_direction() -> None:
    outs = play(in_time(detections([Walk(0, 9, (0.5, 0.8), (0.5, 0.8))], 10, start=BEGIN)), NONE)
    first, *_, last = tracks(outs)
    assert not first.stationary and last.stationary
    assert {t.direction for t in tracks(outs)} == {None}


def test_a_stopped_object_moves_again_when_it_leaves_its_place() -> None:
    parked, leaves = Walk(0, 10, (0.3, 0.8), (0.3, 0.8)), Walk(10.01, 16, (0.3, 0.8), (0.9, 0.8))
    book = msgspec.convert({"rules": [{"id": "parked", "kind": "stopped", "seconds": 4}]}, Rules)
    outs = play(in_time(detections([parked, leaves], 17, start=BEGIN)), book)
    assert len(ids(outs)) == 1
    begun, ended = of(outs, Incident)
    assert begun.start == BEGIN + dt.timedelta(seconds=4.2)
    assert 10 <= (ended.end - BEGIN).total_seconds() <= 10.6
    # The condition has to hold while the object stands there.
    held = msgspec.convert({"rules": [{"id": "parked", "kind": "stopped", "seconds": 4, "hold_s": 6.3}]}, Rules)
    assert of(play(in_time(detections([parked, leaves], 17, start=BEGIN)), held), Incident) == []


def test_objects_outside_all_rules_are_not_tracked() -> None:
    found = [
        Walk(0, 6, (0.2, 0.8), (0.3, 0.8)),
        Walk(0, 6, (0.8, 0.8), (0.9, 0.8), label="car"),
        Walk(0, 6, (0.5, 0.8), (0.5, 0.8), label="dog", size=(0.02, 0.02)),
        Walk(0, 6, (0.6, 0.4), (0.6, 0.4), label="dog", size=(0.1, 0.1)),
    ]
    arrivals = in_time(detections(found, 7, start=BEGIN))

    def left(value: dict[str, Any]) -> list[str]:
        outs = play(arrivals, msgspec.convert(value, Rules))
        return sorted(t.label for t in tracks(outs) if t.state == "end")

    right_half = [[0.55, 0], [1, 0], [1, 1], [0.55, 1]]
    assert left({}) == ["car", "dog", "dog", "person"]
    assert left({"labels": ["car", "cat"]}) == ["car"]
    assert left({"masks": [{"polygon": right_half}]}) == ["dog", "person"]
    assert left({"masks": [{"polygon": right_half, "labels": ["dog"]}]}) == ["car", "dog", "person"]
    assert left({"filters": {"dog": {"min_height": 0.05}}}) == ["car", "dog", "person"]
    assert left({"filters": {"dog": {"max_area": 0.005}}}) == ["car", "dog", "person"]
    assert left({"filters": {"person": {"min_score": 0.9}}}) == ["car", "dog", "dog"]
