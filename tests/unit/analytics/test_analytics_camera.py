"""A camera's analytics as a whole: each event is published once, the same after any order and any interruption."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.camera.state import CameraState
from services.analytics.partitions.partition import Partition
from shared.contract import events
from shared.contract.events import Alert, Counts, DetectedObject, Detections, Incident
from shared.contract.rules import Rules
from shared.contract.work import jobs
from tests.support.examples import examples
from tests.support.video.walking_people import Walk, detections
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
)
from tests.support.worlds.analytics_world import stumble
from tests.support.worlds.camera_runs import NONE, encoded_by_id, ids, once, with_objects

__all__ = ["stumble"]


def test_the_scene_produces_every_kind_of_event() -> None:
    outs = play(in_time(two_connections(BUSY)))
    assert {i.rule for i in of(outs, Incident)} == {r.id for r in BOOK.rules}
    assert len(of(outs, Counts)) == 2 and len(of(outs, jobs.Verify)) >= 2
    assert {a.rule for a in of(outs, Alert)} == {"in", "cross"}
    assert {t.state for t in tracks(outs)} == {"new", "update", "end"}


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
