"""The second pass: it publishes, once, the events of a run in which no frame was deferred."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.camera.statements import Outs
from services.analytics.second_pass.episode import Episode
from services.analytics.second_pass.state import NEAR_S, TAIL_S
from shared.contract import events
from shared.contract.events import Alert, Counts, Detections, Event, Incident
from shared.contract.rules import Rules
from tests.support.examples import examples
from tests.support.video.walking_people import Walk, detections
from tests.support.worlds.analytics_partition import BEGIN, BUSY, LIMITS, RULES, scenes, two_connections
from tests.support.worlds.second_pass import (
    Memory,
    Outcome,
    Replica,
    encoded,
    settled_bytes,
)
from tests.support.worlds.second_pass_runs import (
    AFTER,
    BOOK,
    GATE,
    LEFT,
    NONE,
    ON_TIME,
    RIGHT,
    RUNNER,
    SETTLE_S,
    Deferral,
    counts,
    deferrals,
    delays,
    false_alarms,
    late,
    late_of,
    live_of,
    messages,
    names_of,
    play,
    renamed,
    rules_of,
    scene,
    whole,
    with_frames_left_out,
)
from tidegate.view.events import describe


@pytest.mark.slow
@given(scenes, deferrals)
@settings(max_examples=examples(25))
def test_revised_minutes_equal_those_of_a_run_without_deferrals(
    found: list[Detections], how: list[Deferral | None]
) -> None:
    outcome = play(messages(found, ON_TIME, how))
    expected = play(whole(found, how))
    assert counts(outcome) == counts(expected) and not expected.settled
    revised = {i.replace("settled/", "analytics/", 1) for i, o in outcome.settled.items() if isinstance(o.what, Counts)}
    assert revised <= expected.live.keys()


@pytest.mark.slow
@given(scenes, deferrals)
@settings(max_examples=examples(25))
def test_every_late_incident_occurs_in_a_run_without_deferrals(
    found: list[Detections], how: list[Deferral | None]
) -> None:
    """Ids and bytes are equal, except for the ids of objects first seen in the second pass."""
    outcome = play(messages(found, ON_TIME, how))
    expected = play(whole(found, how))
    names = names_of(found, how)
    for id, out in outcome.settled.items():
        if type(out.what) is Incident and out.what.late:
            plain = msgspec.structs.replace(out.what, late=None)
            same = renamed(id.encode(), names).decode().replace("settled/", "analytics/", 1)
            if out.what.state == "end" and same not in expected.live:
                continue  # it lasted when the pass ended
            assert renamed(events.encode(plain), names) == encoded(expected.live[same])


@pytest.mark.slow
@given(scenes, deferrals)
@settings(max_examples=examples(25))
def test_late_incidents_leave_none_missing_and_false_alarms_are_marked(
    found: list[Detections], how: list[Deferral | None]
) -> None:
    outcome = play(messages(found, ON_TIME, how))
    expected = [i for i in live_of(play(whole(found, how)), Incident) if i.state == "start"]
    incidents = [i for i in live_of(outcome, Incident) if i.state == "start"]
    for is_so in expected:
        assert any(near(is_so, other) for other in [*incidents, *late(outcome)])
    for was in false_alarms(outcome):
        assert was.incident in {i.incident for i in incidents}


def near(a: Incident, b: Incident) -> bool:
    """Whether two are as like each other as those that the second pass takes for the same, or one lasts."""
    apart = abs((a.start - b.start).total_seconds())
    return a.rule == b.rule and (apart <= NEAR_S or a.condition not in ("crossing", "exit"))


@given(scenes, delays, deferrals, st.lists(st.tuples(st.integers(0, 23), st.floats(0, 90)), max_size=6), st.data())
@settings(max_examples=examples(40))
@pytest.mark.slow
def test_order_repeats_and_restarts_do_not_change_the_events(
    found: list[Detections],
    late_by: list[float],
    how: list[Deferral | None],
    again: list[tuple[int, float]],
    data: st.DataObject,
) -> None:
    stored = messages(found, late_by, how)
    expected = play(messages(found, ON_TIME, how))
    repeats = [stored[n]._replace(at=stored[n].at + later, id=f"again/{k}") for k, (n, later) in enumerate(again)]
    revised = {m.id for m in stored if "revisions" in m.subject}
    repeats = [r for r in repeats if "revisions" in r.subject or "quality" not in msgspec.json.decode(r.data)]
    assert revised or not any(d and d.after for d in how)
    moments = st.lists(st.integers(0, len(stored) + len(repeats) - 1), max_size=5)
    stops, saves = data.draw(moments, label="killed after"), data.draw(moments, label="saved after")
    pages = data.draw(st.sampled_from([0, 1, 2, 1000]), label="pages after each message")
    outcome = play([*stored, *repeats], stops=stops, saves=saves, pages=pages)
    assert settled_bytes(outcome) == settled_bytes(expected)
    assert {id: encoded(o) for id, o in outcome.live.items()} == {id: encoded(o) for id, o in expected.live.items()}


def test_a_missed_crossing_is_published_late_and_once() -> None:
    outcome = play(with_frames_left_out(scene([RUNNER]), 3, 8), rules_of(GATE))
    assert not live_of(outcome, Incident)
    ((begun,), (ended,)) = late(outcome), late(outcome, "end")
    assert (begun.rule, begun.direction, begun.verification) == ("cross", "in", "none")
    assert begun.incident == ended.incident and ended.late and not false_alarms(outcome)
    assert not live_of(outcome, Alert) and {type(o.what) for o in outcome.settled.values()} == {Incident, Counts}


def test_a_false_crossing_is_marked_and_stays() -> None:
    outcome = play(with_frames_left_out(scene([LEFT, RIGHT]), 3, 8), rules_of(GATE))
    begun, *_ = live_of(outcome, Incident)
    (marked,) = false_alarms(outcome)
    assert marked.incident == begun.incident and marked.state == "update" and not late(outcome)


def test_watch_marks_late_incidents_and_false_alarms() -> None:
    missed = play(with_frames_left_out(scene([RUNNER]), 3, 8), rules_of(GATE))
    outcome = play(with_frames_left_out(scene([LEFT, RIGHT]), 3, 8), rules_of(GATE))
    lines = [
        describe(out.what)
        for reply in (missed, outcome)
        for out in reply.settled.values()
        if isinstance(out.what, Event)
    ]
    assert len([line for line in lines if line.endswith(", late")]) == 2
    assert len([line for line in lines if line.endswith(", a false alarm")]) == 1
    assert len([line for line in lines if line.endswith("(counted again)")]) == 2


def test_a_live_incident_is_not_repeated() -> None:
    slow = Walk(2, 20, (0.2, 0.7), (0.8, 0.7))
    outcome = play(with_frames_left_out(scene([slow]), 3, 18), rules_of(GATE))
    assert live_of(outcome, Incident) and not late(outcome) and not false_alarms(outcome)


def test_a_stay_with_broken_tracks_is_one_incident_and_no_false_alarm() -> None:
    """Live it is three stays, one after the other; all of them are the one that is so."""
    book = msgspec.convert({**RULES, "rules": [{"id": "in", "kind": "enter", "zone": "door"}]}, Rules)
    found = scene([Walk(1, 23, (0.5, 0.7), (0.5, 0.7))], 24)
    # Another object hides the person in the analysed frames.
    hidden = [
        e
        if n not in (8, 9, 10, 15, 16, 17)
        else msgspec.structs.replace(
            e, frames=[e.frames[0].__class__(time=e.frames[0].time, objects=[]), *e.frames[1:]]
        )
        for n, e in enumerate(found)
    ]
    outcome = play(with_frames_left_out(hidden, 4, 20), book)
    assert len([i for i in live_of(outcome, Incident) if i.state == "start"]) == 3
    assert not late(outcome) and not false_alarms(outcome)


def test_a_second_object_next_to_the_first_is_reported() -> None:
    """A lasting incident stands for one object at a time."""
    book = msgspec.convert({**RULES, "rules": [{"id": "in", "kind": "enter", "zone": "door"}]}, Rules)
    brief = Walk(6.1, 6.9, (0.45, 0.9), (0.45, 0.9))
    outcome = play(with_frames_left_out(scene([Walk(1, 23, (0.55, 0.6), (0.55, 0.6)), brief]), 4, 12), book)
    assert len([i for i in live_of(outcome, Incident) if i.state == "start"]) == 1
    assert len(late(outcome)) == 1 and not false_alarms(outcome)


def test_a_run_without_deferrals_has_no_second_pass() -> None:
    log = Memory(messages(two_connections(BUSY), ON_TIME, NONE))
    log.end = len(log.all)
    replica = Replica(log, BOOK, msgspec.structs.replace(LIMITS, settle_s=SETTLE_S))
    assert replica.live() and not replica.passes.by_camera
    assert not replica.passes.changed and not replica.save().settled and not replica.settle(AFTER)


def test_it_can_be_turned_off() -> None:
    outcome = play(
        with_frames_left_out(scene([RUNNER]), 3, 8), rules_of(GATE), msgspec.structs.replace(LIMITS, settle_s=0.0)
    )
    assert not outcome.settled


def test_a_missing_revision_delays_nothing_beyond_the_limit() -> None:
    found = scene([RUNNER], 24)
    how: list[Deferral | None] = [Deferral(1, 20.0 if 3 <= n < 8 else None) if n < 8 else None for n in range(24)]
    stored = messages(found, ON_TIME, how)
    later = scene([], 2, epoch="f", seq=100)
    far = [m._replace(at=m.at + 100) for m in messages(later, [0.0, 0.0], [None, None])]
    log = Memory([*stored, *far])
    replica = Replica(log, rules_of(GATE), msgspec.structs.replace(LIMITS, settle_s=SETTLE_S))
    log.end = len(log.all)
    replica.live()
    assert not late_of(replica.settle(BEGIN.timestamp() + SETTLE_S))
    assert sum(camera.waiting() for camera in replica.passes.by_camera.values()) == 8
    assert late_of(replica.settle(BEGIN.timestamp() + SETTLE_S + 30))
    assert sum(camera.waiting() for camera in replica.passes.by_camera.values()) == 0


@pytest.mark.parametrize("gap", [TAIL_S - 30, TAIL_S + 60])
def test_two_surges_have_late_incidents_each_at_any_distance(gap: float) -> None:
    first = with_frames_left_out(scene([RUNNER]), 3, 8)
    start = BEGIN + dt.timedelta(seconds=24 + gap)
    again = detections([RUNNER], 24, fps=5, start=start, epoch="g", seq=50)
    outcome = play([*first, *with_frames_left_out(again, 3, 8)], rules_of(GATE))
    assert [i.incident.split(".")[1] for i in late(outcome)] == ["settled-e4-1", "settled-g4-1"]


def test_a_camera_with_constant_deferrals_has_a_small_state() -> None:
    """The state does not grow with deferrals: pending events are in EVENTS."""
    sizes = []
    for minutes in (3, 9):
        found = scene([Walk(n, n + 6.0, (0.1, 0.7), (0.9, 0.7)) for n in range(0, 60 * minutes, 9)], 60 * minutes)
        stored = messages(found, [0.0] * len(found), [Deferral(1, None)] * len(found))
        log = Memory(stored)
        log.end = len(log.all)
        replica = Replica(log, BOOK, msgspec.structs.replace(LIMITS, settle_s=SETTLE_S))
        replica.live()
        replica.settle(log.all[-1].time.timestamp())
        sizes.append(len(replica.save().settled["lobby"]))
    assert sizes[1] < 2 * sizes[0]


def test_changed_rules_apply_from_the_same_segment_as_live() -> None:
    before, after = rules_of(GATE), msgspec.convert({}, Rules)
    log = Memory(with_frames_left_out(scene([RUNNER, RUNNER._replace(begin=12.1, end=13.6)]), 3, 16))
    replica = Replica(log, before, msgspec.structs.replace(LIMITS, settle_s=SETTLE_S))
    outcome = Outcome()
    for n in range(len(log.all)):
        log.end = n + 1
        outcome.add(replica.live())
        if n == 9:
            replica.book = after
            outcome.add(replica.partition.use("lobby", after))
    outcome.add(replica.settle(AFTER))
    assert [i.start.second for i in late(outcome)] == [(BEGIN + dt.timedelta(seconds=4)).second]


@pytest.mark.slow
def test_a_failed_pass_is_abandoned_and_live_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Outs:
        raise ZeroDivisionError

    stored = messages(two_connections(BUSY), ON_TIME, [*NONE[:5], Deferral(1, 5.0), *NONE[6:]])
    expected = play(stored)
    monkeypatch.setattr(Episode, "read", read)
    outcome = play(stored)
    assert outcome.live.keys() == expected.live.keys() and not outcome.settled
