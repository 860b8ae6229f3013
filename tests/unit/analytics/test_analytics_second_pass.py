"""The second pass: it publishes, once, the events of a run in which no frame was deferred."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.state import CameraState
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.second_pass.episode import Episode
from services.analytics.second_pass.state import NEAR_S, TAIL_S
from shared.contract import events
from shared.contract.events import Alert, Counts, Detections, Event, Incident
from shared.contract.rules import Rules
from shared.contract.work import backfill, jobs
from tests.support.examples import examples
from tests.support.video.walking_people import Walk, detections
from tests.support.worlds.analytics_partition import BEGIN, BUSY, LIMITS, RULES, scenes, tracks, two_connections
from tests.support.worlds.analytics_partition import of as of_kind
from tests.support.worlds.analytics_world import verdict
from tests.support.worlds.second_pass import (
    Memory,
    Message,
    Outcome,
    Replica,
    encoded,
    first_id,
    less,
    revision,
    settled_bytes,
)
from tidegate.view.events import describe

# These rules ask no model: the time of a verdict does not follow from the video.
QUIET: dict[str, Any] = {
    **RULES,
    "rules": [{k: v for k, v in r.items() if k not in ("verify", "alert")} for r in RULES["rules"]],
}
BOOK = msgspec.convert(QUIET, Rules)
SETTLE_S = 60.0


class Deferral(NamedTuple):
    """The deferral of one segment: `frames` are analysed immediately, the rest `after` seconds later, or never if None.

    reported: whether it is reported that it never comes.
    """

    frames: int
    after: float | None
    reported: bool = False


def messages(found: Sequence[Detections], delays: Sequence[float], how: Sequence[Deferral | None]) -> list[Message]:
    """What is stored of them: first events as they end, later by so much, and what takes their places."""
    out = []
    for event, delay, deferral in zip(found, delays, how, strict=False):
        at = (event.start - BEGIN).total_seconds() + event.duration + delay
        first = less(event, deferral.frames) if deferral else event
        out.append(Message(at, events.subject(first), first_id(event), events.encode(first)))
        if deferral and deferral.after is not None:
            better = revision(event, "expired" if deferral.reported else None)
            id = backfill.revision_id(first_id(event))
            out.append(Message(at + deferral.after, events.subject(better), id, events.encode(better)))
    return out


def whole(found: Sequence[Detections], how: Sequence[Deferral | None]) -> list[Message]:
    """The messages of a run without deferrals, except for frames that are never backfilled."""
    best = [
        msgspec.structs.replace(less(e, d.frames), quality=None) if d and (d.reported or d.after is None) else e
        for e, d in zip(found, how, strict=False)
    ]
    return messages(best, ON_TIME, NONE)


AFTER = BEGIN.timestamp() + 1e6


def play(
    stored: Iterable[Message],
    book: Rules = BOOK,
    limits: Limits | None = None,
    *,
    stops: Sequence[int] = (),
    saves: Sequence[int] = (),
    pages: int = 1000,
) -> Outcome:
    """All events until the end.

    stops: after these messages a replica is killed, and another continues from the last checkpoint.
    saves: after these messages a checkpoint is written. pages: those of a second pass after each message.
    """
    limits = limits or msgspec.structs.replace(LIMITS, settle_s=SETTLE_S)
    log, outcome = Memory(stored), Outcome()
    replica, saved = Replica(log, book, limits), None
    for n, message in enumerate(log.all):
        log.end = n + 1
        outcome.add(replica.live())
        outcome.add(replica.settle(message.time.timestamp(), pages))
        if n in saves:
            saved = replica.save()
        if n in stops:
            replica = Replica(log, book, limits, saved)
    outcome.add(replica.live())
    outcome.add(replica.wait(AFTER))
    outcome.add(replica.settle(AFTER))
    assert not replica.passes.by_camera, "every second pass ends"
    return outcome


# ---- scenes

deferrals = st.lists(
    st.none()
    | st.builds(
        Deferral,
        st.sampled_from([1, 2]),
        st.sampled_from([1.0, 7.0, 20.0, 40.0, 59.0, None, -2.0]),
        st.sampled_from([False, False, True]),
    ),
    min_size=24,
    max_size=24,
)
delays = st.lists(st.sampled_from([0, 0, 0.3, 1.1, 2.1, 2.5]), min_size=24, max_size=24)
NONE: list[Deferral | None] = [None] * 24
ON_TIME = [0.0] * 24


def live_of(outcome: Outcome, kind: type[Any]) -> list[Any]:
    return [out.what for out in outcome.live.values() if type(out.what) is kind]


def counts(outcome: Outcome) -> list[bytes]:
    """The minutes, as a reader that applies revisions has them."""
    found = {id: o.what for id, o in outcome.live.items() if isinstance(o.what, Counts)}
    for id, out in outcome.settled.items():
        if isinstance(out.what, Counts):
            if out.what.revises is not None:
                del found[out.what.revises]
            if not id.endswith("/none"):
                found[id] = msgspec.structs.replace(out.what, revises=None)
    return sorted(events.encode(what) for what in found.values())


def late(outcome: Outcome, state: str = "start") -> list[Incident]:
    return late_of([*outcome.settled.values()], state)


def late_of(outs: Outs, state: str = "start") -> list[Incident]:
    return [i for i in of_kind(outs, Incident) if i.late and i.state == state]


def false_alarms(outcome: Outcome) -> list[Incident]:
    return [out.what for out in outcome.settled.values() if type(out.what) is Incident and out.what.not_found]


def names_of(found: Sequence[Detections], how: Sequence[Deferral | None]) -> dict[str, str]:
    """Map an object's id of the second pass to the id that live analytics would have used."""
    best = [events_of(m) for m in whole(found, how)]
    by_state = []
    for again in (True, False):
        camera = CameraAnalytics("lobby", LIMITS, BOOK, CameraState(is_second_pass=again))
        outs = [o for n, e in enumerate(best, 1) for o in camera.read(n, e, e.start.timestamp())]
        by_state.append(sorted((t.first, t.box, t.id) for t in tracks(outs) if t.state == "new"))
    return {a[2]: b[2] for a, b in zip(*by_state, strict=True)}


def events_of(message: Message) -> Detections:
    return events.decode(message.data, Detections, message.subject)


def renamed(data: bytes, names: dict[str, str]) -> bytes:
    """The same with objects named as they would have been."""
    return re.sub(rb"settled-[ef]\d+-\d+", lambda m: names[m[0].decode()].encode(), data)


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


# ---- what is published

GATE: dict[str, Any] = {
    "lines": {"gate": {"from": [0.5, 0.95], "to": [0.5, 0.3]}},
    "rules": [{"id": "cross", "kind": "crossing", "line": "gate"}],
}
# Fast: it is seen for a second and a half.
RUNNER = Walk(4.1, 5.6, (0.35, 0.7), (0.65, 0.7))
# Each track lasts less than half a second, on different sides of the line.
LEFT, RIGHT = Walk(4.0, 4.4, (0.43, 0.7), (0.43, 0.7)), Walk(5.0, 5.4, (0.57, 0.7), (0.57, 0.7))


def scene(found: Sequence[Walk], seconds: int = 24, **more: Any) -> list[Detections]:
    return detections(found, seconds, fps=5, start=BEGIN, **more)


def rules_of(value: dict[str, Any], **more: Any) -> Rules:
    changed = {**value, "rules": [{**rule, **more} for rule in value["rules"]]}
    return msgspec.convert(changed, Rules)


def with_frames_left_out(found: Sequence[Detections], begin: int, end: int, after: float = 20.0) -> list[Message]:
    how = [Deferral(1, after) if begin <= n < end else None for n in range(len(found))]
    return messages(found, [0.0] * len(found), how)


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


# ---- verification

ASKING = rules_of(GATE, verify="Does somebody run?")


def late_incident(book: Rules, limits: Limits = LIMITS) -> tuple[Replica, Outs, float]:
    """A crossing that is found late; and when, by the log's clock."""
    log = Memory(with_frames_left_out(scene([RUNNER]), 3, 8))
    replica = Replica(log, book, msgspec.structs.replace(limits, settle_s=SETTLE_S))
    log.end = len(log.all)
    replica.live()
    now = log.all[-1].time.timestamp() + TAIL_S + 60
    return replica, replica.settle(now), now


def test_a_late_incident_is_verified_and_becomes_a_late_alert() -> None:
    replica, outs, now = late_incident(ASKING)
    (job,) = of_kind(outs, jobs.Verify)
    begun = of_kind(outs, Incident)[0]
    assert (begun.state, begun.late, begun.verification) == ("start", True, "pending")
    assert job.incident == begun.incident and job.segments == [s.seq for s in begun.segments]
    assert not of_kind(outs, Alert) and replica.passes.by_camera
    incidents = replica.partition.verdict(verdict(begun, "confirmed"), now + 5)
    (update,), (alert,) = of_kind(incidents, Incident), of_kind(incidents, Alert)
    assert (update.verification, update.late, alert.late) == ("confirmed", True, True)
    assert all(out.id.startswith("settled/") for out in [*outs, *incidents] if not isinstance(out.what, Counts))


def test_a_late_incident_without_a_verdict_is_an_unverified_alert() -> None:
    replica, _, now = late_incident(ASKING)
    outs = replica.wait(now + LIMITS.verify_s)
    (alert,) = of_kind(outs, Alert)
    assert (alert.verification, alert.late) == ("unverified", True)
    replica.wait(now + LIMITS.verify_s + 4000)
    assert not replica.passes.by_camera


def test_a_verdict_replayed_before_its_incident_counts() -> None:
    """As after a crash: verdicts are read immediately, and the second pass takes its time."""
    _, outs, now = late_incident(ASKING)
    begun = of_kind(outs, Incident)[0]
    log = Memory(with_frames_left_out(scene([RUNNER]), 3, 8))
    log.end = len(log.all)
    other = Replica(log, ASKING, msgspec.structs.replace(LIMITS, settle_s=SETTLE_S))
    other.live()
    other.partition.verdict(verdict(begun, "rejected"), now)
    again = other.settle(now)
    assert [i.verification for i in of_kind(again, Incident)] == ["pending", "pending", "rejected"]
    assert not of_kind(again, Alert)


def test_a_job_that_vlm_refuses_leaves_a_late_incident_unverified() -> None:
    replica, outs, _ = late_incident(ASKING)
    (job,) = of_kind(outs, jobs.Verify)
    output = replica.partition.refused("lobby", job.incident)
    assert [type(o.what) for o in output] == [Incident, Alert] and all(o.what.late for o in output)  # type: ignore[union-attr]


def test_a_late_incident_alerts_immediately_if_its_rule_alerts_immediately() -> None:
    _, outs, _ = late_incident(rules_of(GATE, alert="start"))
    (alert,) = of_kind(outs, Alert)
    assert alert.late and alert.verification == "none"


def test_a_false_alarm_keeps_its_verdict() -> None:
    book = rules_of(GATE, verify="Does somebody cross?")
    stored = with_frames_left_out(scene([LEFT, RIGHT]), 3, 8)
    begun, *_ = live_of(play(stored, book), Incident)
    incidents = verdict(begun, "confirmed")
    data = Message(9.2, events.subject(incidents), "vlm/1", events.encode(incidents))
    (marked,) = false_alarms(play([*stored, data], book))
    assert (marked.verification, marked.confidence) == ("confirmed", 0.9)
