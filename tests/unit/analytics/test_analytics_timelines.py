"""A camera without video, with another clock, or with other rules."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from services.analytics.camera.state import CameraState
from shared.contract.events import Alert, Counts, Incident, Tracks
from shared.contract.rules import Rules
from shared.contract.work import jobs
from tests.support.video.walking_people import START, Walk, detections
from tests.support.worlds.analytics_partition import (
    BEGIN,
    BOOK,
    LIMITS,
    RULES,
    Arrival,
    in_time,
    log,
    of,
    partition,
    play,
    read,
    tracks,
    wait,
)
from tests.support.worlds.camera_runs import NONE, ids, once, set_back


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
    (_, begun), (_, over), (_, restarted), (_, end) = found
    jumped = BEGIN + dt.timedelta(seconds=10 - seconds)
    assert over.incident == begun.incident != restarted.incident == end.incident

    assert begun.start == BEGIN and over.end == BEGIN + dt.timedelta(seconds=9.8)
    assert restarted.start == jumped
    # The evidence is from the time of the incident.
    assert {s.n for s in restarted.segments} == {10}
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
