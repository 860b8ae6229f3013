"""Incidents: from when to when a condition is one, and the table of their phases."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.incidents import lifecycle
from services.analytics.incidents.lifecycle import TRANSITIONS, FrameContext, Incidents
from services.analytics.incidents.state import IncidentsState
from services.analytics.rules.conditions import Case, Evaluation
from shared.contract.events import Alert, Incident, SegmentRef
from shared.contract.rules import AnyRule
from shared.contract.work import jobs
from tests.support.examples import examples
from tests.support.video.walking_people import START
from tests.support.worlds.incident_watch import ENTER, SECOND, T, Watch, case, ref, rule, verdict


def test_an_incident_lasts_until_its_condition_was_false_long_enough() -> None:
    watch = Watch(ENTER).for_s(1).for_s(3, "a").for_s(5)
    assert watch.states() == [("start", 1.0), ("end", 3.75)]
    begun, ended = watch.of(Incident)
    assert begun.incident == ended.incident and begun.start == ended.start == START + dt.timedelta(seconds=1)
    assert begun.end is None and ended.end == START + dt.timedelta(seconds=3.75)
    assert (begun.rule, begun.condition, begun.zone, begun.severity) == ("r", "enter", "door", "warning")
    assert begun.snapshot.seq == 101 and begun.snapshot.time == begun.start
    assert [o.id for o in begun.objects] == ["a"] and begun.verification == "none"
    # The incident is published as soon as its condition holds.
    assert [t.time for t in watch.events] == [1.0, 5.75]


def test_an_incident_survives_a_short_false_condition() -> None:
    watch = Watch(rule("enter", zone="door", end_after_s=2)).for_s(2, "a").for_s(1.75).for_s(1, "a").for_s(5)
    assert watch.states() == [("start", 0.0), ("end", 4.5)]
    watch = Watch(rule("enter", zone="door", end_after_s=2)).for_s(2, "a").for_s(2.25).for_s(1, "a").for_s(5)
    assert [state for state, _ in watch.states()] == ["start", "end", "start", "end"]


def test_a_condition_with_hold_starts_an_incident_after_that_time() -> None:
    held = rule("enter", zone="door", hold_s=2)
    assert Watch(held).for_s(2, "a").events == []
    watch = Watch(held).for_s(1).for_s(2.25, "a")
    assert watch.states() == [("start", 3.0)]
    (begun,) = watch.of(Incident)
    assert begun.start == START + dt.timedelta(seconds=1)
    # The evidence begins a second before the condition came true.
    assert [s.n for s in begun.segments] == [0, 1, 2, 3]
    assert Watch(held).for_s(1.75, "a").for_s(0.25).for_s(2, "a").events == []


def test_each_object_has_its_own_incident() -> None:
    watch = Watch(ENTER).for_s(1, "a").for_s(1, "a", "b").for_s(3, "b").for_s(3)
    begun = [i.objects[0].id for i in watch.of(Incident) if i.state == "start"]
    ended = [i.objects[0].id for i in watch.of(Incident) if i.state == "end"]
    assert begun == ended == ["a", "b"]
    assert len({i.incident for i in watch.of(Incident)}) == 2


@pytest.mark.parametrize("hold_s", [0, 1])
def test_a_cooldown_suppresses_and_counts_incidents(hold_s: float) -> None:
    calm = rule("enter", zone="door", cooldown_s=10, end_after_s=0, hold_s=hold_s)
    watch = Watch(calm).for_s(2, "a").for_s(1).for_s(3, "b").for_s(1).for_s(2, "c").for_s(3)
    assert [i.objects[0].id for i in watch.of(Incident) if i.state == "start"] == ["a"]
    assert watch.incidents.suppressed == 2
    watch.for_s(2, "d")
    assert [i.objects[0].id for i in watch.of(Incident) if i.state == "start"] == ["a", "d"]
    assert watch.incidents.suppressed == 2


def test_a_condition_that_outlasts_a_cooldown_starts_an_incident() -> None:
    watch = Watch(rule("enter", zone="door", cooldown_s=10, end_after_s=0)).for_s(1, "a").for_s(1).for_s(10, "b")
    begun = [i for i in watch.of(Incident) if i.state == "start"]
    assert [i.objects[0].id for i in begun] == ["a", "b"]
    assert begun[1].time == START + dt.timedelta(seconds=10)


def test_a_momentary_condition_is_one_incident_that_ends() -> None:
    crossing = rule("crossing", line="gate")
    watch = Watch(crossing).for_s(1).see([{"a.in": case("a")}]).for_s(4)
    assert watch.states() == [("start", 1.0), ("end", 1.0)]
    twice = Watch(crossing).see([{"a.in": case("a")}, {"a.out": case("a")}]).for_s(4)
    assert len({i.incident for i in twice.of(Incident)}) == 2


def test_an_object_that_joins_an_incident_is_reported() -> None:
    crowd = rule("count", over=0)
    frames = [{"": case("a")}] * 24 + [{"": case("a", "b")}] * 8
    (begun, joined) = Watch(crowd).see(frames).of(Incident)
    assert (begun.state, joined.state) == ("start", "update") and begun.incident == joined.incident
    assert [o.id for o in joined.objects] == ["a", "b"] and joined.value == 2
    assert joined.time == START + dt.timedelta(seconds=6)


def test_an_object_that_joins_early_is_reported_slightly_later() -> None:
    frames = [{"": case("a")}] * 4 + [{"": case("a", "b")}] * 36
    found = Watch(rule("count", over=0)).see(frames).of(Incident)
    assert [(i.state, [o.id for o in i.objects]) for i in found] == [("start", ["a"]), ("update", ["a", "b"])]


def test_updates_are_rarer_than_frames() -> None:
    frames = [{"": case(*(str(k) for k in range(n + 1)))} for n in range(40)]
    watch = Watch(rule("count", over=0)).see(frames).for_s(3)
    times = [i.time.timestamp() for i in watch.of(Incident) if i.state == "update"]
    assert times and all(b - a >= 5 for a, b in itertools.pairwise([T, *times]))
    assert len(watch.of(Incident)[-1].objects) == 40


def test_an_incident_of_many_objects_lists_a_limited_number() -> None:
    watch = Watch(rule("count", over=0)).see([{"": case(*(str(k) for k in range(90)))}] * 8).for_s(3)
    assert {len(i.objects) for i in watch.of(Incident)} == {50}
    assert len(watch.of(Incident)) == 2


def test_changes_in_a_crowd_above_the_limit_cause_no_update() -> None:
    crowds = [[str(k) for k in range(n, n + 90)] for n in range(0, 40, 2)]
    watch = Watch(rule("count", over=0)).see([{"": case(*crowd)} for crowd in crowds for _ in range(8)])
    assert [i.state for i in watch.of(Incident)] == ["start"]


def test_a_rule_moved_to_another_zone_ends_its_incident() -> None:
    watch = Watch(ENTER).for_s(2, "a")
    watch.rule = rule("enter", zone="yard")
    watch.for_s(2, "a").for_s(3)
    assert [(i.state, i.zone) for i in watch.of(Incident)] == [
        ("start", "door"),
        ("end", "door"),
        ("start", "yard"),
        ("end", "yard"),
    ]


def test_an_incident_refused_for_verification_is_unverified_immediately() -> None:
    watch = Watch(rule("enter", zone="door", verify="Is someone there?", alert="unless_rejected")).for_s(1, "a")
    (begun,) = watch.of(Incident)
    watch.incidents.verifications.refused(begun.incident)
    watch.incidents.verifications.refused(begun.incident)
    watch.for_s(1, "a")
    assert [i.verification for i in watch.of(Incident)] == ["pending", "unverified"]
    assert [a.verification for a in watch.of(Alert)] == ["unverified"]


def test_open_incidents_of_a_rule_are_limited_and_others_counted() -> None:
    watch = Watch(ENTER).for_s(1, *(str(k) for k in range(120))).for_s(3)
    assert len(watch.of(Incident)) == 200 and watch.incidents.suppressed == 20


def test_no_job_is_published_while_too_many_verdicts_are_pending() -> None:
    """VLM answers a camera's jobs in order: more jobs would only take the room of other cameras."""
    watch = Watch(rule("enter", zone="door", verify="Is someone there?"))
    for n in range(3):
        watch.for_s(1, *(f"{n}-{k}" for k in range(90))).for_s(3)
    states = Counter(i.verification for i in watch.of(Incident) if i.state == "update")
    assert states == {"unverified": 70}
    requests = [job.incident for job in watch.of(jobs.Verify)]
    assert requests == [i.incident for i in watch.of(Incident) if i.state == "start"][:200]
    watch.verdict(verdict(requests[0], "confirmed")).for_s(1, "one more").for_s(3)
    assert len(watch.of(jobs.Verify)) == 201


def test_an_incident_without_a_job_alerts_immediately_unless_only_confirmed_ones_alert() -> None:
    for alert, alerts in (("unless_rejected", 20), ("confirmed", 0), ("start", 220)):
        watch = Watch(rule("enter", zone="door", verify="Is someone there?", alert=alert))
        for n in range(4):
            watch.for_s(1, *(f"{n}-{k}" for k in range(55))).for_s(3)
        assert len(watch.of(Alert)) == alerts


def test_a_long_incident_has_its_first_and_its_last_segments() -> None:
    ended = Watch(ENTER).for_s(200, "a").for_s(3).of(Incident)[-1]
    assert [s.n for s in ended.segments] == [*range(30), *range(170, 200)]
    assert ended.segments[0] == SegmentRef(stream="MEDIA", seq=100, epoch="e", n=0)


truths = st.lists(st.sets(st.sampled_from("abc")), max_size=60)
ruled = st.builds(
    lambda **fields: rule("enter", zone="door", verify="?", **fields),
    alert=st.sampled_from([None, "unless_rejected"]),
    hold_s=st.sampled_from([0, 0, 0.5, 2]),
    end_after_s=st.sampled_from([0, 0.5, 2]),
    cooldown_s=st.sampled_from([0, 0, 1, 5]),
)


def seen(truth: Sequence[set[str]]) -> list[dict[str, Case]]:
    return [{id: case(id) for id in sorted(ids)} for ids in truth]


@given(ruled, truths)
@settings(max_examples=examples(60))
def test_an_incident_starts_once_and_ends_once(of: AnyRule, truth: list[set[str]]) -> None:
    watch = Watch(of).see(seen(truth))
    watch.incidents.end_all()
    watch.until(10_000)
    by_id: dict[str, list[Incident]] = {}
    for incident in watch.of(Incident):
        by_id.setdefault(incident.incident, []).append(incident)
    for id, reports in by_id.items():
        assert [i.state for i in reports if i.verification == "pending"] == ["start", "end"]
        assert [i.verification for i in reports][2:] == ["unverified"]
        end = reports[1].end
        assert end and reports[0].time - reports[0].start >= of.hold_s * SECOND and reports[0].time <= end
        assert [a.incident for a in watch.of(Alert)].count(id) == 1
        assert [j.incident for j in watch.of(jobs.Verify)].count(id) == 1
    begun = sorted(i.time for reports in by_id.values() for i in reports if i.state == "start")
    assert all(b - a >= of.cooldown_s * SECOND for a, b in itertools.pairwise(begun))
    # The first frames in which the condition has held long enough for any object.
    if not of.hold_s and any(truth):
        first = next(n for n, ids in enumerate(truth) if ids)
        assert begun[0] == START + first / 4 * SECOND


Step = tuple[str, str, str]


class Walked(Incidents):
    """steps: every (phase, signal, next phase) so far."""

    steps: set[Step]

    def _step(self, rule: Any, state: Any, key: str, signal: Any, frame: Any) -> None:
        before = state.standing[key].phase if key in state.standing else None
        super()._step(rule, state, key, signal, frame)
        if before:
            self.steps.add((before, signal, state.standing[key].phase if key in state.standing else "absent"))


def walked(
    kind: str, cooldown_s: float, frames: Iterable[tuple[set[str], set[str], float]]
) -> set[tuple[str, str, str]]:
    """Return the steps of a rule. frames: for which keys it is true, which are undone, and its `hold_s` now."""
    incidents = Walked("lobby", 60.0)
    incidents.steps = set()
    for n, (true, undone, hold_s) in enumerate(frames):
        now = rule(kind, zone="door", cooldown_s=cooldown_s, end_after_s=0.5, hold_s=hold_s)
        evaluation = Evaluation({id: CASES[id] for id in sorted(true)}, undone=undone if now.momentary else ())
        incidents.judge(now, evaluation, FrameContext(T + n / 4, T + n, [ref(n)]))
    return incidents.steps


CASES = {id: case(id) for id in "abc"}
TABLE = {(phase, signal, after) for (phase, signal), after in TRANSITIONS.items()}
keys = st.sets(st.sampled_from("abc"))
judged = st.lists(st.tuples(keys, keys, st.sampled_from([0, 0.25, 1])), max_size=60)


@given(st.sampled_from(["enter", "exit"]), st.sampled_from([0, 1, 5]), judged)
@settings(max_examples=examples(60))
def test_each_step_is_in_the_table(kind: str, cooldown_s: float, frames: list[Any]) -> None:
    assert walked(kind, cooldown_s, frames) <= TABLE


def test_each_row_of_the_table_is_reached() -> None:
    chance, steps = random.Random(0), set()
    for n in range(60):
        subsets = [[{id for id in "abc" if chance.random() < 0.4} for _ in range(40)] for _ in range(2)]
        holds = [chance.choice([0, 0.25, 1]) for _ in range(40)]
        steps |= walked(("enter", "exit")[n % 2], chance.choice([0, 1, 5]), zip(*subsets, holds, strict=True))
    # A key that becomes true is stepped on in the same frame.
    assert steps == TABLE - {("absent", "true", "holding")}


def test_the_docstring_has_the_table_of_phases() -> None:
    rows = [row.strip("| ").split(" | ") for row in (lifecycle.__doc__ or "").splitlines() if row.startswith("| ")][1:]
    assert {(before, one): after for before, signals, after, *_ in rows for one in signals.split(", ")} == TRANSITIONS


@given(ruled, truths, st.integers(0, 60))
@settings(max_examples=examples(60))
def test_incidents_continue_exactly_from_their_state(of: AnyRule, truth: list[set[str]], stop: int) -> None:
    one = Watch(of).see(seen(truth[:stop]))
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(one.incidents.state), type=IncidentsState)
    other = Watch(of, state, one.tick).see(seen(truth[stop:])).until(10_000)
    assert one.events + other.events == Watch(of).see(seen(truth)).until(10_000).events
