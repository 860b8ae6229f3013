"""A camera's analytics as a whole: each event is published once, the same after any order and any interruption."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.analytics.camera.state import CameraState
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.partitions.partition import Partition
from services.analytics.tracking.tracker import Sighting, Tracker, TrackerState
from shared.contract import events
from shared.contract.events import Alert, Counts, DetectedObject, Detections, Event, Incident, Track, Tracks
from shared.contract.rules import Rules
from shared.contract.work import jobs
from tests.support import schemas
from tests.support.examples import examples
from tests.support.video.walking_people import START, Walk, detections
from tests.support.worlds.analytics_partition import (
    BEGIN,
    BOOK,
    BUSY,
    LIMITS,
    RULES,
    Arrival,
    delayed,
    delays,
    in_time,
    log,
    of,
    partition,
    play,
    read,
    scenes,
    tracks,
    two_connections,
    wait,
    walks,
)
from tests.support.worlds.analytics_world import stumble

__all__ = ["stumble"]

NONE = Rules()
KINDS = {k.kind: k for k in (Tracks, Incident, Alert, Counts)}


def encoded_by_id(outs: Outs) -> dict[str, bytes]:
    """The encoded events by id: no id has two different events."""
    found: dict[str, bytes] = {}
    for out in outs:
        data = jobs.encode(out.what) if isinstance(out.what, jobs.Job) else events.encode(out.what)
        assert found.setdefault(out.id, data) == data, out.id
    return found


def once(outs: Outs) -> dict[str, bytes]:
    found = encoded_by_id(outs)
    assert len(found) == len(outs)
    return found


def ids(outs: Outs, state: str = "new") -> list[str]:
    return [t.id for t in tracks(outs) if t.state == state]


# ---- scenes


def test_the_scene_produces_every_kind_of_event() -> None:
    outs = play(in_time(two_connections(BUSY)))
    assert {i.rule for i in of(outs, Incident)} == {r.id for r in BOOK.rules}
    assert len(of(outs, Counts)) == 2 and len(of(outs, jobs.Verify)) >= 2
    assert {a.rule for a in of(outs, Alert)} == {"in", "cross"}
    assert {t.state for t in tracks(outs)} == {"new", "update", "end"}


# ---- the same, whatever the order


@given(scenes, delays, st.lists(st.tuples(st.integers(0, 23), st.integers(0, 200)), max_size=6))
@settings(max_examples=examples(40))
def test_order_and_repeats_do_not_change_the_events(
    found: list[Detections], tenths: list[int], again: list[tuple[int, int]]
) -> None:
    arrivals = delayed(found, tenths)
    repeats = [arrivals[n]._replace(at=arrivals[n].at + later / 10) for n, later in again]
    assert once(play([*arrivals, *repeats])) == once(play(in_time(found)))


@given(scenes, delays, st.sets(st.integers(0, 22), max_size=6))
@settings(max_examples=examples(25))
def test_a_late_event_changes_nothing(found: list[Detections], tenths: list[int], late: set[int]) -> None:
    late -= {n + 1 for n in late}
    arrivals = delayed(found, tenths)
    on_time = [a for n, a in enumerate(arrivals) if n not in late]
    too_late = [arrivals[n]._replace(at=arrivals[n].at + 12) for n in late]
    reference = once(play([a for n, a in enumerate(in_time(found)) if n not in late]))
    assert once(play([*on_time, *too_late])) == once(play(on_time)) == reference


@given(scenes, delays, st.data())
@settings(max_examples=examples(40))
def test_a_restart_continues_exactly(found: list[Detections], tenths: list[int], data: st.DataObject) -> None:
    stored = log(delayed(found, tenths))
    expected = once(play(delayed(found, tenths)))
    stop = data.draw(st.integers(0, len(stored)), label="stored until")
    one = partition()
    before = read(one, stored[:stop])
    one.position = stop + 1
    again = data.draw(st.integers(1, one.resume_at().seq), label="read again from")
    other = resumed(one)
    assert read(other, stored[again - 1 : stop]) == []
    assert once(before + read(other, stored[stop:]) + wait(other)) == expected


@pytest.mark.slow
@given(delays, st.integers(0, 23), st.integers(0, 23))
@settings(max_examples=examples(25))
def test_events_repeated_after_a_crash_have_the_same_ids(tenths: list[int], stop: int, more: int) -> None:
    arrivals = delayed(two_connections(BUSY), tenths)
    stored = log(arrivals)
    one = partition()
    before = read(one, stored[:stop])
    one.position = stop + 1
    needed = one.resume_at().seq
    other = resumed(one)
    unknown = read(one, stored[stop : stop + more])
    after = read(other, stored[needed - 1 :]) + wait(other)
    assert encoded_by_id(before + unknown + after) == once(before + after) == once(play(arrivals))


@pytest.mark.parametrize("few", [0, 1, 2])
@pytest.mark.parametrize("stop", range(5, 25))
def test_a_restart_during_a_replay_loses_nothing(stop: int, few: int) -> None:
    arrivals = delayed(two_connections(BUSY), [0, 28, 5, 0, 25] * 5)
    stored = log(arrivals)
    one = partition()
    before = read(one, stored[:stop])
    one.position = stop + 1
    other = resumed(one)
    other.position = one.resume_at().seq
    # The second stop comes before it has read any further.
    here = min(stop, other.position - 1 + few)
    assert read(other, stored[other.position - 1 : here]) == []
    other.position = here + 1
    third = resumed(other)
    after = read(third, stored[other.resume_at().seq - 1 :]) + wait(third)
    assert once(before + after) == once(play(arrivals))


def resumed(before: Partition) -> Partition:
    """Another process, with what the one before has stored."""
    after = partition()
    for name, camera in before.cameras.items():
        stored = msgspec.msgpack.encode(camera.state())
        after.restore(name, msgspec.msgpack.decode(stored, type=CameraState))
    return after


def test_a_restart_with_two_waiting_connections_continues_exactly() -> None:
    """Segments of the new connection have waited long, those of the old one have not: the new one has to wait."""
    first, second = two_connections(BUSY)[:12], two_connections(BUSY)[12:]
    arrivals = [
        *in_time(first)[:8],
        Arrival(9.0, second[0]),
        Arrival(10.0, first[9]),
        Arrival(12.5, first[11]),
        Arrival(12.8, first[8]),
        Arrival(13.0, second[1]),
        Arrival(15.0, first[10]),
        *in_time(second)[2:],
    ]
    stored = log(arrivals)
    expected = once(play(arrivals))
    for stop in range(len(stored) + 1):
        one = partition()
        before = read(one, stored[:stop])
        one.position = stop + 1
        other = resumed(one)
        after = read(other, stored[one.resume_at().seq - 1 :]) + wait(other)
        assert once(before + after) == expected


def test_cameras_do_not_disturb_each_other() -> None:
    lobby = two_connections(BUSY)
    street = [msgspec.structs.replace(e, camera="street") for e in two_connections(BUSY[:2], first=7)]
    both = [a._replace(at=a.at + 0.3) for a in in_time(street)] + in_time(lobby)
    alone = [*play(in_time(lobby)), *play(a._replace(at=a.at + 0.3) for a in in_time(street))]
    assert once(play(both)) == once(alone)


def test_messages_that_are_no_detections_are_skipped() -> None:
    arrivals = in_time(two_connections(BUSY))
    stored = log(arrivals)
    broken = [
        stored[3]._replace(data=b"{"),
        stored[3]._replace(data=b"\xff"),
        stored[3]._replace(data=b"[" * 100_000),
        stored[3]._replace(data=b"{}"),
        stored[3]._replace(subject="events.detections.street"),
    ]
    camera = partition()
    outs = read(camera, [*stored[:4], *broken, *stored[4:]]) + wait(camera)
    assert once(outs) == once(play(arrivals)) and set(camera.cameras) == {"lobby"}


def strange(kind: str) -> list[Detections]:
    """Well formed, and nothing that a camera sends."""
    stays = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    begin = dt.datetime(9999, 12, 31, 23, 59, 50, tzinfo=dt.UTC) if kind == "year" else BEGIN
    found = [msgspec.structs.replace(e, camera="street") for e in detections([stays], 6, start=begin)]
    if kind == "duration":
        return [msgspec.structs.replace(e, duration=-5.0) for e in found]
    if kind == "frames":
        later = dt.timedelta(seconds=100)
        return [
            msgspec.structs.replace(e, frames=[msgspec.structs.replace(f, time=f.time + later) for f in e.frames])
            for e in found
        ]
    return found


@pytest.mark.parametrize("kind", ["duration", "frames", "year"])
def test_absurd_times_delay_no_camera(kind: str) -> None:
    good = in_time(two_connections(BUSY))
    outs = play([*(Arrival(2.5 + n, e) for n, e in enumerate(strange(kind))), *good])
    assert once([o for o in outs if o.what.camera == "lobby"]) == once(play(good))


def with_objects(event: Detections, objects: Sequence[DetectedObject]) -> Detections:
    frames = [msgspec.structs.replace(f, objects=[*f.objects, *objects]) for f in event.frames]
    return msgspec.structs.replace(event, frames=frames)


def test_empty_boxes_are_ignored() -> None:
    dots = [DetectedObject(label="dog", score=0.9, box=(0.0, 0.0, size, size)) for size in (1e-200, 1e-200, 1e-5, 0.0)]
    scene = two_connections(BUSY)
    assert once(play(in_time([with_objects(e, dots) for e in scene]))) == once(play(in_time(scene)))


def test_the_likeliest_objects_of_a_crowd_are_tracked() -> None:
    crowd = [
        DetectedObject(label="dog", score=0.5 + n / 1000, box=(x, y, x + 0.01, y + 0.01))
        for n, (x, y) in enumerate((i / 25, j / 25) for i in range(20) for j in range(20))
    ]
    outs = play(in_time([with_objects(e, crowd) for e in detections([], 2, fps=2, start=BEGIN)]), NONE)
    assert len(ids(outs)) == 300 and min(t.score for t in tracks(outs)) == 0.6


def test_a_crowded_segment_has_a_frame_limit_and_the_next_one_starts_afresh() -> None:
    """One event of eight megabytes took half a minute, for which its cameras' leases were not renewed."""
    crowd = [
        DetectedObject(label="dog", score=0.9, box=(i / 20, j / 20, i / 20 + 0.04, j / 20 + 0.04))
        for i in range(20)
        for j in range(20)
    ]
    scene = [with_objects(e, crowd) for e in detections([], 2, fps=100, start=BEGIN)]
    outs = play(in_time(scene), NONE, msgspec.structs.replace(LIMITS, fps=100.0))
    seen = {p.time for t in tracks(outs) for p in t.path}
    assert len([t for t in seen if t < scene[1].start]) == 10_000 / 400
    assert len([t for t in seen if t >= scene[1].start]) == 10_000 / 400


@pytest.mark.parametrize("kind", ["label", "frames", "zone"])
def test_an_impossible_detection_is_dead_lettered(kind: str) -> None:
    (event,) = detections([Walk(0, 9, (0.5, 0.8), (0.5, 0.8))], 1, start=BEGIN)
    if kind == "label":
        event = with_objects(event, [DetectedObject(label="x" * 65, score=0.9, box=(0, 0, 1, 1))])
    if kind == "frames":
        event = msgspec.structs.replace(event, frames=event.frames * 1000)
    data = events.encode(event)
    if kind == "zone":
        data = data.replace(b"Z", b"")
    camera = partition()
    assert camera.read(log(in_time([event]))[0]._replace(data=data)) == []
    assert [b.seq for b in camera.bad] == [1] and "not an event of detections" in camera.bad[0].reason


@pytest.mark.parametrize("order", [range(12), (0, 2, 3, 4, 5, 6, 1, *range(7, 12)), range(11, -1, -1)])
def test_a_segment_that_fails_spoils_no_other_segment(
    order: Iterable[int], stumble: Callable[[dt.datetime], None]
) -> None:
    found = detections([Walk(0, 100, (0.5, 0.8), (0.5, 0.8))], 12, start=BEGIN)
    stumble(found[5].frames[2].time)
    book = msgspec.convert({**RULES, "rules": [{**RULES["rules"][0], "alert": "start"}]}, Rules)
    camera = partition(book)
    stored = log(Arrival(n / 10, found[k]) for n, k in enumerate(order))
    outs = read(camera, stored) + wait(camera)
    once(outs)
    (failed,) = camera.bad
    assert msgspec.json.decode(stored[failed.seq - 1].data)["segment"]["n"] == 5
    assert "ZeroDivisionError" in failed.reason and camera.cameras["lobby"].order.gaps == 0
    # Two of everything, each with its beginning and its end: before it, and after.
    assert len(ids(outs)) == len(ids(outs, "end")) == 2
    assert [i.state for i in of(outs, Incident) if i.state != "update"] == ["start", "end"] * 2
    assert len(of(outs, Alert)) == len(of(outs, jobs.Verify)) == 2


# ---- tracks


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


def blinded(event: Detections) -> Detections:
    frames = [msgspec.structs.replace(f, objects=[]) for f in event.frames]
    return msgspec.structs.replace(event, frames=frames)


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


# ---- no more video, another time, other rules


def test_an_idle_camera_ends_its_tracks_and_incidents() -> None:
    camera = partition()
    found = detections([Walk(0, 100, (0.5, 0.8), (0.5, 0.8))], 8, start=BEGIN)
    outs = read(camera, log(in_time(found)))
    assert ids(outs, "end") == [] and "end" not in [i.state for i in of(outs, Incident) if i.rule == "in"]
    assert wait(camera, 8 + LIMITS.idle_s + LIMITS.reorder_s - 0.01) == []
    idle = wait(camera, 8 + LIMITS.idle_s + LIMITS.reorder_s)
    assert ids(idle, "end") == ids(outs)
    begun = {i.incident for i in of(outs, Incident) if i.state == "start"}
    ended = {i.incident for i in of(outs + idle, Incident) if i.state == "end"}
    assert begun == ended and begun
    assert all(i.end == found[-1].frames[-1].time for i in of(idle, Incident) if i.rule in ("in", "stay", "stop"))
    assert of(idle, Counts)[0].labels["person"].objects == 1
    later = wait(camera)
    assert of(later, Tracks) == of(later, Counts) == []
    assert {i.verification for i in of(later, Incident)} == {"unverified"}


def test_an_object_after_an_idle_time_is_another_object() -> None:
    walk = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    before = in_time(detections([walk], 8, start=BEGIN))
    after = in_time(detections([walk], 8, start=BEGIN + dt.timedelta(seconds=60), epoch="f", seq=50))
    outs = play([*before, *after])
    assert len(set(ids(outs))) == len(ids(outs)) == 2
    assert sorted(ids(outs, "end")) == sorted(ids(outs))
    once(outs)


def test_a_cooldown_continues_without_video() -> None:
    rule = {"id": "in", "kind": "enter", "zone": "door", "cooldown_s": 600, "alert": "start"}
    book = msgspec.convert({**RULES, "rules": [rule]}, Rules)
    walk = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    before = in_time(detections([walk], 8, start=BEGIN))
    after = in_time(detections([walk], 8, start=BEGIN + dt.timedelta(seconds=60), epoch="f", seq=50))
    assert len(of(play([*before, *after], book), Alert)) == 1


def test_evidence_has_its_own_time_after_a_pause() -> None:
    book = msgspec.convert({**RULES, "rules": [RULES["rules"][0]]}, Rules)
    walk = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    before = in_time(detections([walk], 30, start=BEGIN))
    other = detections([walk], 5, start=BEGIN - dt.timedelta(seconds=20), epoch="f", seq=50)
    outs = play([*before, *(Arrival(70.0 + n, e) for n, e in enumerate(other))], book)
    _, begun = [i for i in of(outs, Incident) if i.state == "start"]
    _, request = of(outs, jobs.Verify)
    assert [s.seq for s in begun.segments] == request.segments == [50]


def test_two_partial_minutes_of_one_segment_stay_separate() -> None:
    """Its clock was set back at the last segment before there was no video."""
    walk = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    before = in_time(detections([walk], 10, start=START))
    (after,) = detections([walk], 1, start=START + dt.timedelta(seconds=7), first=10, seq=11)
    outs = play([*before, Arrival(-39.0, after)], NONE)
    once(outs)
    assert [c.seconds for c in of(outs, Counts)] == [9.8, 0.8]


def test_the_last_frame_before_a_clock_is_set_back_is_of_its_own_segment() -> None:
    book = msgspec.convert({**RULES, "rules": [{"id": "out", "kind": "exit", "zone": "door"}]}, Rules)
    outs = play(set_back(30), book)
    missing, *_ = of(outs, Incident)
    seen = {a.event.segment.seq: a.event for a in set_back(30)}[missing.snapshot.seq]
    assert missing.snapshot.time in [f.time for f in seen.frames]
    assert all(s.n < 10 for s in missing.segments)


def set_back(seconds: float) -> list[Arrival]:
    """Ten seconds of a standing person, and twelve more after the camera's clock was set back."""
    walk = Walk(0, 100, (0.5, 0.8), (0.5, 0.8))
    leaves = Walk(0, 8, (0.5, 0.8), (0.5, 0.8))
    before = in_time(detections([walk], 10, start=BEGIN))
    after = detections([leaves], 12, start=BEGIN + dt.timedelta(seconds=10 - seconds), first=10, seq=11)
    return [*before, *(Arrival(11.0 + n, e) for n, e in enumerate(after))]


@pytest.mark.parametrize("seconds", [1.5, 5, 60, 3600, 86_400])
def test_a_clock_set_back_starts_a_new_timeline(seconds: float) -> None:
    outs = play(set_back(seconds))
    first, second = ids(outs)
    assert ids(outs, "end") == [first, second]
    jumped = BEGIN + dt.timedelta(seconds=10 - seconds)
    one, other = (t for t in tracks(outs) if t.state == "end")
    assert (one.first, one.last) == (BEGIN, BEGIN + dt.timedelta(seconds=9.8))
    assert (other.first, other.last) == (jumped, jumped + dt.timedelta(seconds=8))
    once(outs)


@pytest.mark.parametrize("seconds", [1.5, 5, 60, 3600, 86_400])
def test_incidents_end_and_restart_when_the_clock_is_set_back(seconds: float) -> None:
    book = msgspec.convert({**RULES, "rules": [{"id": "in", "kind": "enter", "zone": "door", "cooldown_s": 1}]}, Rules)
    arrivals = set_back(seconds)
    camera = partition(book)
    found: list[tuple[float, Incident]] = []
    for a, stored in zip(arrivals, log(arrivals), strict=True):
        found += [(a.at, i) for i in of(camera.read(stored), Incident)]
    # All of this happens during the video: nothing waits for the clock to catch up.
    assert [i.state for _, i in found] == ["start", "end", "start", "end"]
    (_, begun), (_, over), (_, anew), (_, end) = found
    jumped = BEGIN + dt.timedelta(seconds=10 - seconds)
    assert over.incident == begun.incident != anew.incident == end.incident

    assert begun.start == BEGIN and over.end == BEGIN + dt.timedelta(seconds=9.8)
    assert anew.start == jumped
    # The evidence is from the time of the incident.
    assert {s.n for s in anew.segments} == {10}
    assert min(s.n for s in end.segments) == 10


@pytest.mark.parametrize("seconds", [5, 3600])
def test_objects_present_when_the_clock_is_set_back_leave_and_are_counted(seconds: float) -> None:
    book = msgspec.convert({**RULES, "rules": [{"id": "out", "kind": "exit", "zone": "door"}]}, Rules)
    outs = play(set_back(seconds), book)
    assert [i.state for i in of(outs, Incident)].count("start") == 2
    visits = [c.zones["door"]["person"] for c in of(outs, Counts)]
    assert sum(v.entered for v in visits) == sum(v.left for v in visits) == 2
    assert sum(v.stayed_s for v in visits) == pytest.approx(9.8 + 8.0)
    once(outs)


def test_a_clock_set_back_slightly_only_delays_events() -> None:
    arrivals = set_back(0.5)
    outs = play(arrivals)
    assert len(ids(outs)) == 1 and len(ids(outs, "end")) == 1
    path = [p.time for t in tracks(outs) for p in t.path]
    assert path == sorted(set(path))


def test_removed_rules_end_their_incidents() -> None:
    camera = partition()
    found = in_time(detections([Walk(0, 100, (0.5, 0.8), (0.5, 0.8))], 12, start=BEGIN))
    stored = log(found)
    outs = read(camera, stored[:8])
    fewer = msgspec.structs.replace(BOOK, rules=[r for r in BOOK.rules if r.id != "in"])
    changed = camera.use("lobby", fewer)
    (ended,) = of(changed, Incident)
    (begun,) = [i for i in of(outs, Incident) if i.rule == "in"]
    assert (ended.incident, ended.state, ended.end) == (begun.incident, "end", found[7].event.frames[-1].time)
    rest = read(camera, stored[8:])
    assert "in" not in {i.rule for i in of(rest, Incident)}
    # The other incidents and the track continue unchanged.
    assert "start" not in {i.state for i in of(rest, Incident) if i.rule in ("stay", "stop")}
    assert ids(rest) == [] and camera.use("street", fewer) == []
    once([*outs, *changed, *rest])


def test_new_rules_apply_from_the_next_segment() -> None:
    camera = partition(NONE)
    stored = log(in_time(detections([Walk(0, 100, (0.5, 0.8), (0.5, 0.8))], 12, start=BEGIN)))
    assert of(read(camera, stored[:8]), Incident) == []
    assert camera.use("lobby", BOOK) == []
    (begun,) = [i for i in of(read(camera, stored[8:]), Incident) if i.rule == "in"]
    assert begun.state == "start" and begun.objects[0].id == ids(read(partition(), stored))[0]


def test_rules_removed_during_a_stop_end_their_incidents() -> None:
    one = partition()
    stored = log(in_time(detections([Walk(0, 100, (0.5, 0.8), (0.5, 0.8))], 12, start=BEGIN)))
    (begun,) = [i for i in of(read(one, stored[:8]), Incident) if i.rule == "in"]
    other = partition(msgspec.structs.replace(BOOK, rules=[r for r in BOOK.rules if r.id != "in"]))
    other.restore(
        "lobby", msgspec.msgpack.decode(msgspec.msgpack.encode(one.cameras["lobby"].state()), type=CameraState)
    )
    (ended,) = [i for i in of(read(other, stored[8:]), Incident) if i.rule == "in"]
    assert (ended.incident, ended.state) == (begun.incident, "end")


# ---- the tracker


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
