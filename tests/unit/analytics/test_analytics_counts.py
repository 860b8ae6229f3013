"""Counts by the minute: passages, labels, and time without video."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from shared.contract import events
from shared.contract.events import Counts, Detections
from tests.support.examples import examples
from tests.support.video.walking_people import START, Walk, detections
from tests.support.worlds.incident_watch import SECOND, book

WHOLE = book(
    zones={"door": {"polygon": [[0.4, 0.3], [0.6, 0.3], [0.6, 0.95], [0.4, 0.95]]}},
    lines={"gate": {"from": [0.5, 0.95], "to": [0.5, 0.3]}},
)


def counted(found: Sequence[Walk], seconds: int, begin: int = 0, fps: int = 5) -> list[Counts]:
    return count(detections(found, seconds, fps=fps, start=START + begin * SECOND))


def count(found: Sequence[Detections]) -> list[Counts]:
    camera = CameraAnalytics("lobby", Limits(reorder_s=3, lost_s=1), WHOLE)
    outs = []
    for seq, event in enumerate(found, 1):
        at = event.start.timestamp() + event.duration
        outs += [*_due(camera, at), *camera.read(seq, event, at)]
    outs += _due(camera, float("inf"))
    return [out.what for out in outs if isinstance(out.what, Counts)]


def _due(camera: CameraAnalytics, until: float) -> Outs:
    outs: Outs = []
    while (deadline := camera.deadline()) is not None and deadline <= until:
        outs += camera.due(deadline)
    return outs


def test_a_walk_is_counted_in_each_zone_and_line_it_passes() -> None:
    # A tenth of the width a second: in the door from 3 s to 5 s, over the line at 4 s.
    (minute,) = counted([Walk(0, 7.9, (0.1, 0.7), (0.89, 0.7))], 8)
    assert (minute.start, minute.end) == (START, START + 60 * SECOND)
    assert minute.seconds == pytest.approx(7.8)
    person = minute.labels["person"]
    assert (person.objects, person.most, person.seconds) == (1, 1, pytest.approx(7.8))
    door = minute.zones["door"]["person"]
    assert (door.entered, door.left, door.most) == (1, 1, 1)
    assert door.stayed_s == pytest.approx(2, abs=0.41) and door.seconds == pytest.approx(door.stayed_s, abs=0.41)
    gate = minute.lines["gate"]["person"]
    assert (gate.into, gate.out) == (1, 0)
    assert sum(minute.heat.seconds) == pytest.approx(7.8, abs=0.1)
    cells = {divmod(i, minute.heat.columns)[0] for i, s in enumerate(minute.heat.seconds) if s}
    assert cells == {int(0.7 * minute.heat.rows)} and len(minute.heat.seconds) == 32 * 18


def test_in_out_and_labels_are_counted_separately() -> None:
    found = [
        Walk(0, 6, (0.1, 0.6), (0.9, 0.6)),
        Walk(0, 6, (0.9, 0.9), (0.1, 0.9)),
        Walk(7, 13, (0.1, 0.6), (0.9, 0.6)),
        Walk(7, 13, (0.9, 0.9), (0.1, 0.9), label="car", size=(0.1, 0.1)),
    ]
    (minute,) = counted(found, 16)
    assert {label: (c.into, c.out) for label, c in minute.lines["gate"].items()} == {"person": (2, 1), "car": (0, 1)}
    assert {label: (p.objects, p.most) for label, p in minute.labels.items()} == {"person": (3, 2), "car": (1, 1)}
    assert {label: (v.entered, v.left) for label, v in minute.zones["door"].items()} == {
        "person": (3, 3),
        "car": (1, 1),
    }


def test_a_minute_ends_on_the_minute_and_nothing_is_counted_twice() -> None:
    stays = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    first, second, third = counted([stays], 75, begin=50)
    assert [m.start for m in (first, second, third)] == [START, START + 60 * SECOND, START + 120 * SECOND]
    assert [m.seconds for m in (first, second, third)] == pytest.approx([9.8, 60, 5])
    assert [m.labels["person"].objects for m in (first, second, third)] == [1, 0, 0]
    assert [m.labels["person"].seconds for m in (first, second, third)] == pytest.approx([9.8, 60, 5])
    assert [m.zones["door"]["person"].entered for m in (first, second, third)] == [1, 0, 0]
    assert {m.labels["person"].most for m in (first, second, third)} == {1}


def test_an_empty_scene_is_a_minute_without_objects() -> None:
    (minute,) = counted([], 20)
    assert minute.seconds == pytest.approx(19.8)
    assert (minute.labels, minute.zones, minute.lines) == ({}, {}, {}) and set(minute.heat.seconds) == {0}
    assert msgspec.json.decode(events.encode(minute), type=Counts) == minute


def test_time_without_video_is_not_counted() -> None:
    found = detections([Walk(0, 100, (0.2, 0.8), (0.2, 0.8))], 30)
    (minute,) = count([*found[:5], *found[25:]])
    assert minute.seconds == pytest.approx(4.8 + 4.8) and minute.labels["person"].objects == 2


@given(
    st.lists(
        st.builds(
            lambda begin, length, a, b, label: Walk(begin, begin + length, a, b, label=label),
            st.integers(0, 60),
            st.integers(2, 20),
            st.tuples(st.floats(0.1, 0.9), st.floats(0.35, 0.95)),
            st.tuples(st.floats(0.1, 0.9), st.floats(0.35, 0.95)),
            st.sampled_from(["person", "car"]),
        ),
        max_size=4,
    ),
    st.integers(0, 59),
)
@settings(max_examples=examples(15))
def test_sums_agree(found: list[Walk], begin: int) -> None:
    minutes = counted(found, 70, begin, fps=3)
    assert sum(m.seconds for m in minutes) == pytest.approx(70 - 1 / 3, abs=0.01)
    for m in minutes:
        assert m.seconds <= 60
        assert sum(p.seconds for p in m.labels.values()) == pytest.approx(sum(m.heat.seconds), abs=3)
        for label, visits in m.zones.get("door", {}).items():
            presence = m.labels.get(label)
            assert visits.seconds <= (presence.seconds if presence else 0) + 0.01
            assert visits.most <= (presence.most if presence else 0)
    for label in ("person", "car"):
        visits = [v for m in minutes for v in [m.zones.get("door", {}).get(label)] if v]
        assert sum(v.entered for v in visits) >= sum(v.left for v in visits)
        assert sum(m.labels[label].objects for m in minutes if label in m.labels) >= bool(visits)
