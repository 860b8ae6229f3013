"""From the positions of objects to events: places, conditions, incidents and counts."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.incidents import lifecycle
from services.analytics.incidents.lifecycle import TRANSITIONS, FrameContext, Incidents
from services.analytics.incidents.state import IncidentsState, Ref
from services.analytics.limits import Limits
from services.analytics.rules import conditions
from services.analytics.rules.conditions import Case, Evaluation, ObservedScene
from services.analytics.tracking import places
from services.analytics.tracking.objects import Box, FollowedObject
from services.analytics.tracking.places import Passage
from shared.contract import events
from shared.contract.events import Alert, Counts, Detections, Incident, SegmentRef, Timing, Usage, Verdict
from shared.contract.rules import AnyRule, Rules
from shared.contract.work import jobs
from tests.support.examples import examples
from tests.support.video.walking_people import START, Walk, detections

ASPECT = 16 / 9
T = START.timestamp()
# The width and height of a standing object.
WIDTH, HEIGHT = 0.06, 0.2
# Nearer to a border than this it is where it was.
NEAR = HEIGHT / 20


def rule(kind: str, **fields: Any) -> AnyRule:
    found: AnyRule = msgspec.convert({"id": "r", "kind": kind, **fields}, AnyRule)
    return found


def box(x: float, y: float, width: float = WIDTH, height: float = HEIGHT) -> Box:
    """One whose feet are there."""
    return x - width / 2, y - height, x + width / 2, y


class Someone:
    """An object that is seen at one place after the other."""

    def __init__(self, book: Rules | None = None, id: str = "a", label: str = "person", begin: float = T) -> None:
        self.followed: FollowedObject | None = None
        self.passages: list[Passage] = []
        self._book, self._id, self._label, self._time = book or Rules(), id, label, begin

    def at(
        self, *spots: tuple[float, float], step: float = 0.25, size: tuple[float, float] = (WIDTH, HEIGHT)
    ) -> Someone:
        for x, y in spots:
            here = box(x, y, *size)
            before = places.Before(self.followed.last, self.followed.box) if self.followed else None
            if self.followed is None:
                time = self._time
                self.followed = FollowedObject(self._id, {}, 0.0, here, time, time, here, time)
            self.followed.see(self._time, here, self._label, 0.8)
            self.passages += places.find_passages(self.followed, before, self._book, ASPECT)
            self._time += step
        return self

    def seen(self) -> FollowedObject:
        assert self.followed
        return self.followed

    def passed(self) -> list[tuple[str, float]]:
        """(what, seconds since `T`)."""
        return [(p.what, round(p.time - T, 3)) for p in self.passages]


def book(**fields: Any) -> Rules:
    return msgspec.convert(fields, Rules)


DOOR = book(zones={"door": {"polygon": [[0.4, 0.3], [0.6, 0.3], [0.6, 0.95], [0.4, 0.95]]}})
# Going up.
GATE = book(lines={"gate": {"from": [0.5, 0.9], "to": [0.5, 0.5]}})
OUT, IN = (0.2, 0.7), (0.5, 0.7)
LEFT, RIGHT = (0.4, 0.7), (0.6, 0.7)


# ---- places


def test_a_second_frame_confirms_an_entry() -> None:
    assert Someone(DOOR).at(OUT, IN).passed() == []
    # On the straight way from OUT to IN the border is two thirds away.
    assert Someone(DOOR).at(OUT, IN, IN, IN).passed() == [("entered", 0.167)]
    assert Someone(DOOR).at(IN, IN).passed() == [("entered", 0.0)]
    assert Someone(DOOR).at(OUT, IN, OUT, IN, OUT).passed() == []


def test_a_second_frame_confirms_an_exit() -> None:
    someone = Someone(DOOR).at(OUT, IN, IN, IN, OUT)
    assert someone.passed() == [("entered", 0.167)] and someone.seen().zones_now() == ["door"]
    someone.at(IN, OUT, OUT)
    assert someone.passed() == [("entered", 0.167), ("left", 1.333)] and someone.seen().zones_now() == []
    assert someone.passages[-1].stayed_s == 1.166


def test_an_object_that_disappears_leaves_at_its_last_frame() -> None:
    someone = Someone(DOOR).at(OUT, IN, IN, IN)
    (passage,) = places.exits(someone.seen())
    assert (passage.what, passage.place, passage.time) == ("left", "door", someone.seen().last)
    assert passage.stayed_s == 0.583
    assert places.exits(Someone(DOOR).at(OUT, OUT).seen()) == []


@given(st.lists(st.floats(-0.9, 0.9), max_size=20), st.sampled_from([OUT, IN]))
def test_jitter_at_a_border_is_no_passage(tremor: list[float], first: tuple[float, float]) -> None:
    someone = Someone(DOOR).at(first, first, first)
    before = someone.passed()
    someone.at(*((0.4 + share * NEAR / ASPECT, 0.7) for share in tremor))
    assert someone.passed() == before


@given(st.lists(st.floats(-0.9, 0.9), max_size=20), st.sampled_from([LEFT, RIGHT]))
def test_jitter_on_a_line_is_no_crossing(tremor: list[float], first: tuple[float, float]) -> None:
    someone = Someone(GATE).at(first, *((0.5 + share * NEAR / ASPECT, 0.7) for share in tremor), first)
    assert someone.passed() == []


@given(st.lists(st.floats(-0.9, 0.9), max_size=20))
def test_jitter_during_a_crossing_is_one_crossing(tremor: list[float]) -> None:
    on_it = [(0.5 + share * NEAR / ASPECT, 0.7) for share in tremor]
    assert [what for what, _ in Someone(GATE).at(LEFT, *on_it, RIGHT, RIGHT).passed()] == ["in"]


def test_left_to_right_over_a_line_is_in_and_the_reverse_is_out() -> None:
    assert Someone(GATE).at(LEFT, RIGHT, RIGHT, LEFT).passed() == [("in", 0.125), ("out", 0.625)]
    turned = book(lines={"gate": {"from": [0.5, 0.5], "to": [0.5, 0.9]}})
    assert Someone(turned).at(LEFT, RIGHT).passed() == [("out", 0.125)]
    # The line runs to the right: an object that moves down the picture comes from its left.
    across = book(lines={"gate": {"from": [0.2, 0.6], "to": [0.8, 0.6]}})
    assert Someone(across).at((0.5, 0.5), (0.5, 0.7), (0.5, 0.5)).passed() == [("in", 0.125), ("out", 0.375)]


@pytest.mark.parametrize("y", [0.4, 0.95])
def test_beyond_the_ends_of_a_line_nothing_is_crossed(y: float) -> None:
    assert Someone(GATE).at((0.4, y), (0.6, y), (0.6, y), (0.4, y)).passed() == []


def test_going_around_a_line_and_back_over_it_is_one_crossing() -> None:
    assert Someone(GATE).at(LEFT, (0.4, 0.95), (0.6, 0.95), RIGHT, LEFT).passed() == [("out", 0.875)]


def test_an_anchor_is_the_feet_or_the_middle() -> None:
    zone = {"polygon": [[0.4, 0.3], [0.6, 0.3], [0.6, 0.65], [0.4, 0.65]]}
    assert Someone(book(zones={"door": zone})).at(IN, IN).passed() == []
    assert Someone(book(zones={"door": {**zone, "anchor": "center"}})).at(IN, IN).passed() == [("entered", 0.0)]
    line = {"from": [0.5, 0.65], "to": [0.5, 0.3]}
    assert Someone(book(lines={"gate": line})).at(LEFT, RIGHT).passed() == []
    assert Someone(book(lines={"gate": {**line, "anchor": "center"}})).at(LEFT, RIGHT).passed() == [("in", 0.125)]


def test_an_object_cut_by_the_frame_edge_is_in_a_zone_at_that_edge() -> None:
    bottom = book(zones={"door": {"polygon": [[0.4, 0.5], [0.6, 0.5], [0.6, 1], [0.4, 1]]}})
    assert Someone(bottom).at((0.5, 1.0), (0.5, 1.0)).passed() == [("entered", 0.0)]
    assert Someone(bottom).at((0.2, 1.0), (0.2, 1.0)).passed() == []


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.3, 1)), min_size=1, max_size=40))
def test_passages_alternate(spots: list[tuple[float, float]]) -> None:
    whole = book(zones=msgspec.to_builtins(DOOR)["zones"], lines={"gate": {"from": [0.5, 1], "to": [0.5, 0]}})
    someone = Someone(whole).at(*spots)
    of_zone = [p for p in someone.passages if p.place == "door"]
    of_line = [p for p in someone.passages if p.place == "gate"]
    assert [p.what for p in of_zone] == ["entered", "left"] * (len(of_zone) // 2) + ["entered"] * (len(of_zone) % 2)
    assert (someone.seen().zones_now() == ["door"]) == (len(of_zone) % 2 == 1)
    for entered, left in zip(of_zone[::2], of_zone[1::2], strict=False):
        assert left.stayed_s == pytest.approx(left.time - entered.time) and left.stayed_s > 0
    assert all(a.what != b.what for a, b in itertools.pairwise(of_line))
    if of_line:
        certain = [x for x, _ in spots if abs(x - 0.5) * ASPECT >= NEAR]
        assert (of_line[-1].what == "in") == (certain[-1] > 0.5)


# ---- conditions


def scene(*there: Someone, time: float | None = None) -> ObservedScene:
    """As the last of them was seen."""
    objects = [s.seen() for s in there]
    passages = [p for s in there for p in s.passages]
    return ObservedScene(max(o.last for o in objects) if time is None else time, ASPECT, objects, passages)


def true(of: AnyRule, *there: Someone) -> dict[str, Case]:
    return dict(conditions.cases(of, scene(*there)))


def stands(x: float, y: float = 0.7, id: str = "a", label: str = "person", seconds: float = 1.0) -> Someone:
    return Someone(DOOR, id, label).at(*[(x, y)] * (round(seconds * 4) + 1))


def walks(dx: float, dy: float, id: str = "a", x: float = 0.5, y: float = 0.7) -> Someone:
    """So far in each of two seconds, in heights of the frame."""
    spots = [(x + dx * k / 4 / ASPECT, y + dy * k / 4) for k in range(9)]
    return Someone(DOOR, id).at(*spots)


def test_enter_holds_for_objects_in_the_zone() -> None:
    enter = rule("enter", zone="door")
    assert list(true(enter, stands(0.5), stands(0.2, id="b"))) == ["a"]
    assert true(rule("enter", zone="door", labels=["car"]), stands(0.5)) == {}
    assert list(true(rule("enter", zone="door", labels=["car"]), stands(0.5, label="car"))) == ["a"]


def test_exit_holds_for_objects_that_just_left() -> None:
    left = Someone(DOOR).at(OUT, IN, IN, IN, OUT, OUT)
    found = true(rule("exit", zone="door"), left)
    assert list(found) == ["a"] and found["a"].value == 0.666
    assert true(rule("exit", zone="door", labels=["car"]), left) == {}
    assert true(rule("exit", zone="door"), stands(0.5), stands(0.2, id="b")) == {}


def test_crossing_holds_for_objects_that_just_crossed_in_that_direction() -> None:
    crossed = Someone(GATE).at(LEFT, RIGHT)
    (case,) = true(rule("crossing", line="gate"), crossed).values()
    assert case.direction == "in" and [o.id for o in case.objects] == ["a"]
    assert len(true(rule("crossing", line="gate", direction="in"), crossed)) == 1
    assert true(rule("crossing", line="gate", direction="out"), crossed) == {}
    assert true(rule("crossing", line="gate", labels=["car"]), crossed) == {}
    assert true(rule("crossing", line="gate"), Someone(GATE).at(LEFT, LEFT)) == {}


def test_loitering_holds_after_its_time_in_the_zone() -> None:
    loitering = rule("loitering", zone="door", seconds=3)
    assert true(loitering, stands(0.5, seconds=3)) == {}
    found = true(loitering, stands(0.5, seconds=3.25))
    assert found["a"].value == 3.25
    # The object may walk within the zone; only the time in the zone counts.
    about = Someone(DOOR).at(*[OUT] * 20, *[(0.5, 0.6), (0.5, 0.8)] * 5)
    assert true(loitering, about) == {}
    assert true(loitering, about.at(*[(0.5, 0.6), (0.5, 0.8)] * 5)) != {}
    assert true(loitering, stands(0.2, seconds=9)) == {}


def test_count_holds_over_or_under_a_number() -> None:
    three = [stands(0.5, id="a"), stands(0.45, id="b"), stands(0.2, id="c")]
    found = true(rule("count", over=2), *three)
    assert list(found) == [""] and found[""].value == 3 and len(found[""].objects) == 3
    assert true(rule("count", over=3), *three) == {}
    assert true(rule("count", over=1, zone="door"), *three)[""].value == 2
    assert true(rule("count", over=2, zone="door"), *three) == {}
    assert true(rule("count", under=3, zone="door"), *three)[""].value == 2
    assert true(rule("count", under=2, zone="door"), *three) == {}
    assert true(rule("count", under=1, labels=["car"]), *three)[""].value == 0
    assert conditions.cases(rule("count", over=0), ObservedScene(T, ASPECT, [], [])) == {}


def test_proximity_holds_for_two_near_objects() -> None:
    car = stands(0.8, id="c", label="car")
    # Box to box: a width lies between their middles.
    person = stands(0.8 - WIDTH - 0.1 / ASPECT, id="p")
    assert true(rule("proximity", labels=["person"], to=["car"], distance=0.09), person, car) == {}
    found = true(rule("proximity", labels=["person"], to=["car"], distance=0.11), person, car)
    assert list(found) == ["c+p"] and found["c+p"].value == pytest.approx(0.1)
    assert list(true(rule("proximity", to=["person", "car"], distance=0.11), person, car)) == ["c+p"]
    assert true(rule("proximity", labels=["person"], to=["person"], distance=1), person, car) == {}
    in_door = rule("proximity", labels=["person"], to=["car"], distance=4, zone="door")
    assert true(in_door, person, car) == {} and true(in_door, stands(0.5, id="p"), car) != {}


def test_stopped_holds_for_objects_still_for_its_time() -> None:
    stopped = rule("stopped", seconds=2)
    assert true(stopped, stands(0.5, seconds=2)) == {}
    assert true(stopped, stands(0.5, seconds=2.25))["a"].value == 2.25
    assert true(stopped, walks(0.2, 0)) == {}
    trembling = Someone(DOOR).at(*[(0.5, 0.7), (0.505, 0.705)] * 8)
    assert list(true(stopped, trembling)) == ["a"]
    assert true(rule("stopped", seconds=2, zone="door"), stands(0.2, seconds=3)) == {}


def test_a_half_hidden_object_has_not_moved() -> None:
    """A box of what can be seen of it: half of it, or twice that with what is in front of it."""
    parked = Someone(DOOR).at(*[IN] * 5)
    for size in ((WIDTH / 2, HEIGHT), (2 * WIDTH, HEIGHT)):
        parked.at(IN, size=size).at(*[IN] * 3)
    assert true(rule("stopped", seconds=2.5), parked)["a"].value == 3.0


def test_an_object_that_moved_counts_as_stopped_from_then_on() -> None:
    moved = Someone(DOOR).at(*[(0.3, 0.7)] * 13).at(*[IN] * 4)
    assert true(rule("stopped", seconds=2), moved)["a"].value == 3.25  # seen elsewhere, which may be for a moment
    moved.at(IN)
    assert true(rule("stopped", seconds=1), moved) == {}
    moved.at(*[IN] * 4)
    assert true(rule("stopped", seconds=1), moved)["a"].value == 2.0


def test_a_moving_object_has_not_stopped() -> None:
    walker = Someone(DOOR).at(*[(0.1 + 0.03 * k, 0.7) for k in range(25)])
    assert true(rule("stopped", seconds=1.5), walker) == {}


@pytest.mark.parametrize(
    ("dx", "dy", "against"), [(0.1, 0, False), (0.05, 0.1, False), (-0.1, 0, True), (-0.1, 0.05, True), (0, 0, False)]
)
def test_wrong_way_holds_for_objects_that_move_against_a_direction(dx: float, dy: float, against: bool) -> None:
    found = true(rule("wrong_way", direction=90), walks(dx, dy))
    assert list(found) == ["a"] * against


def test_a_direction_near_north_has_both_sides() -> None:
    north = true(rule("wrong_way", direction=350, tolerance=30), walks(0.01, -0.1), walks(-0.1, -0.1, id="b"))
    assert list(north) == ["b"] and north["b"].value == pytest.approx(315, abs=1)


def test_wrong_way_ignores_slow_objects() -> None:
    assert list(true(rule("wrong_way", direction=90, min_speed=0.09), walks(-0.1, 0))) == ["a"]
    assert true(rule("wrong_way", direction=90, min_speed=0.11), walks(-0.1, 0)) == {}
    assert true(rule("wrong_way", direction=90, zone="door"), walks(-0.1, 0, x=0.2)) == {}


def test_speed_is_in_frame_heights_a_second() -> None:
    assert true(rule("speed", over=0.11), walks(0.06, -0.08)) == {}
    assert true(rule("speed", over=0.09), walks(0.06, -0.08))["a"].value == pytest.approx(0.1)
    assert true(rule("speed", over=0.09, zone="door"), walks(0.06, -0.08, x=0.2)) == {}


def test_crowding_holds_for_a_chain_of_enough_objects() -> None:
    step = WIDTH + 0.04 / ASPECT
    chain = [stands(0.2 + k * step, id=str(k)) for k in range(4)]
    alone = stands(0.9, id="9")
    found = true(rule("crowding", objects=4), *chain, alone)
    assert list(found) == ["0"] and found["0"].value == 4
    assert {o.id for o in found["0"].objects} == {"0", "1", "2", "3"}
    assert true(rule("crowding", objects=5), *chain, alone) == {}
    assert true(rule("crowding", objects=2, distance=0.03), *chain, alone) == {}
    pairs = [*chain[:2], stands(0.7, id="7"), stands(0.7 + step, id="8")]
    assert list(true(rule("crowding", objects=2), *pairs)) == ["0", "7"]


# ---- incidents


def ref(n: int) -> Ref:
    return Ref("MEDIA", 100 + n, "e", n, T + n, T + n + 1)


class Watched(NamedTuple):
    time: float
    what: Incident | jobs.Verify


class Watch:
    """A rule at four frames a second; its segments are of one second, each stored as it ends."""

    def __init__(self, of: AnyRule, state: IncidentsState | None = None, tick: int = 0) -> None:
        self.rule = of
        self.incidents = Incidents("lobby", 60.0, state)
        self.tick = tick
        self.events: list[Watched] = []

    def see(self, frames: Iterable[Mapping[str, Case]]) -> Watch:
        for cases in frames:
            time = self.tick / 4
            trail = [ref(n) for n in range(int(time) + 1)]
            frame = FrameContext(T + time, T + int(time) + 1, trail)
            self.incidents.judge(self.rule, Evaluation(cases), frame)
            self._take()
            self.tick += 1
        return self

    def for_s(self, seconds: float, *ids: str) -> Watch:
        """Let the condition hold for each of these objects."""
        return self.see([{id: case(id) for id in ids}] * round(seconds * 4))

    def verdict(self, event: Verdict) -> Watch:
        self.incidents.verifications.verdict(event)
        return self._take()

    def until(self, at: float) -> Watch:
        """Pass all deadlines until then, by the clock of the log."""
        verifications = self.incidents.verifications
        while (deadline := verifications.deadline()) is not None and deadline <= T + at:
            verifications.due(deadline)
            after = verifications.deadline()
            assert after is None or after > deadline
            self._take()
        return self

    def _take(self) -> Watch:
        self.events += [Watched(self.tick / 4, what) for what in self.incidents.verifications.take()]
        return self

    def of(self, kind: type[Any]) -> list[Any]:
        return [t.what for t in self.events if type(t.what) is kind]

    def states(self) -> list[tuple[str, float]]:
        """(state, second of its frame)."""
        return [(i.state, i.time.timestamp() - T) for i in self.of(Incident)]


def case(*ids: str) -> Case:
    return Case([Someone(id=id).at(IN).seen() for id in ids], float(len(ids)))


def verdict(incident: str, text: str, confidence: float = 0.9) -> Verdict:
    return Verdict(
        camera="lobby",
        job="j",
        start=START,
        end=START,
        model="m",
        frames=[],
        reason=f"it is {text}",
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
        usage=Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0),
        incident=incident,
        verdict=text,  # type: ignore[arg-type]
        confidence=confidence,
    )


ENTER = rule("enter", zone="door")


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


# ---- verification

RULE_WITH_QUESTION = rule("enter", zone="door", verify="Is somebody there?")


@given(st.integers(0, 200), st.integers(0, 200))
@settings(max_examples=examples(40))
def test_a_job_asks_about_the_evidence(before: int, held: int) -> None:
    rule_with_question = rule("enter", zone="door", verify="Is somebody there?", hold_s=held / 4)
    watch = Watch(rule_with_question).for_s(before / 4).for_s((held + 1) / 4, "a")
    (begun,) = watch.of(Incident)
    (job,) = watch.of(jobs.Verify)
    evidence = [
        r.seq
        for r in map(ref, range(60 * 4))
        if begun.start.timestamp() - 1 < r.end and r.start <= T + (before + held) / 4
    ]
    assert [s.seq for s in begun.segments] == evidence
    assert set(job.segments) <= set(evidence) and job.segments == sorted(set(job.segments))
    assert len(job.segments) == min(12, len(evidence))
    assert (job.segments[0], job.segments[-1]) == (evidence[0], evidence[-1])
    steps = [b - a for a, b in itertools.pairwise(job.segments)]
    assert not steps or max(steps) - min(steps) <= 1
    assert (job.camera, job.incident, job.rule, job.prompt) == ("lobby", begun.incident, "r", "Is somebody there?")
    assert (job.start, job.end) == (START + (evidence[0] - 100) * SECOND, START + (evidence[-1] - 99) * SECOND)
    assert jobs.decode(jobs.subject(job), jobs.encode(job)) == job
    assert begun.verification == "pending"


SECOND = dt.timedelta(seconds=1)


def test_the_longest_names_still_make_a_job() -> None:
    longest = rule("proximity", to=["person"], distance=1, verify="?")
    longest = msgspec.structs.replace(longest, id="r" * 64)
    ids = ["0123abcd1234567-100001", "0123abcd1234567-100002"]
    watch = Watch(longest).see([{"+".join(ids): case(*ids)}])
    (job,) = watch.of(jobs.Verify)
    assert jobs.decode(jobs.subject(job), jobs.encode(job)) == job


@pytest.mark.parametrize("text", ["confirmed", "rejected", "uncertain"])
@pytest.mark.parametrize("ended", [False, True])
def test_a_verdict_joins_its_incident(text: str, ended: bool) -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3 * ended)
    begun = watch.of(Incident)[0]
    count = len(watch.events)
    watch.verdict(verdict(begun.incident, text))
    judged = watch.of(Incident)[-1]
    assert (judged.state, judged.verification, judged.confidence) == ("update", text, 0.9)
    assert judged.incident == begun.incident and judged.reason == f"it is {text}"
    assert (judged.end is not None) == ended and judged.time == START + 1.75 * SECOND
    # A repeated verdict and a verdict on another incident change nothing.
    watch.verdict(verdict(begun.incident, text)).verdict(verdict("x", text))
    assert len(watch.events) - count == 1 + (text != "rejected")
    if not ended:
        watch.for_s(3)
        over = watch.of(Incident)[-1]
        assert (over.state, over.verification, over.reason) == ("end", text, f"it is {text}")
    assert watch.until(10_000).of(Incident)[-1].verification == text


def test_without_a_verdict_in_time_it_is_unverified() -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3)
    # The wait counts from when the first segment was stored.
    assert watch.incidents.verifications.deadline() == T + 1 + 60
    assert watch.until(60.9).of(Incident)[-1].verification == "pending"
    judged = watch.until(61).of(Incident)[-1]
    assert (judged.state, judged.verification, judged.confidence) == ("update", "unverified", None)
    assert "60 s" in judged.reason


def test_a_late_verdict_still_joins_but_not_for_ever() -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3).until(61)
    id = watch.of(Incident)[0].incident
    other = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3).until(61)
    watch.until(61 + 3599).verdict(verdict(id, "confirmed"))
    judged = watch.of(Incident)[-1]
    assert (judged.verification, judged.confidence, judged.reason) == ("confirmed", 0.9, "it is confirmed")
    other.until(61 + 3600).verdict(verdict(id, "confirmed"))
    assert other.of(Incident)[-1].verification == "unverified"
    assert watch.incidents.verifications.deadline() is None and other.incidents.verifications.deadline() is None


ALERTS = [
    ("confirmed", ["confirmed"], 1),
    ("confirmed", ["rejected"], 0),
    ("confirmed", ["uncertain"], 0),
    ("confirmed", ["late"], 0),
    ("confirmed", ["late", "confirmed"], 1),
    ("confirmed", ["late", "rejected"], 0),
    (None, ["confirmed"], 1),
    (None, ["rejected"], 0),
    (None, ["uncertain"], 1),
    (None, ["late"], 1),
    (None, ["refused"], 1),
    (None, ["refused", "rejected"], 1),
    (None, ["late", "confirmed"], 1),
    (None, ["late", "rejected"], 1),
    ("confirmed", ["refused"], 0),
    ("confirmed", ["refused", "confirmed"], 1),
    ("unless_rejected", ["confirmed"], 1),
    ("unless_rejected", ["rejected"], 0),
    ("unless_rejected", ["uncertain"], 1),
    ("unless_rejected", ["late"], 1),
    ("unless_rejected", ["late", "confirmed"], 1),
    ("unless_rejected", ["late", "uncertain"], 1),
    ("unless_rejected", ["late", "rejected"], 1),
    ("start", [], 1),
    ("start", ["confirmed"], 1),
    ("start", ["rejected"], 1),
    ("start", ["late", "confirmed"], 1),
]


@pytest.mark.parametrize(("alert", "reports", "count"), ALERTS)
@pytest.mark.parametrize("ended", [False, True])
def test_an_incident_has_one_alert_by_its_rule(alert: str | None, reports: list[str], count: int, ended: bool) -> None:
    watch = Watch(rule("enter", zone="door", verify="Is somebody there?", alert=alert)).for_s(2, "a").for_s(3 * ended)
    begun = watch.of(Incident)[0]
    assert len(watch.of(Alert)) == (alert == "start")
    for one in reports:
        if one == "late":
            watch.until(61)
        elif one == "refused":
            watch.incidents.verifications.refused(begun.incident)
        else:
            watch.verdict(verdict(begun.incident, one))
    alerts = watch.for_s(5).of(Alert)
    assert len(alerts) == count
    for raised in alerts:
        assert raised.incident == begun.incident and raised.objects == begun.objects
        first = next((s for s in reports if alert != "confirmed" or s == "confirmed"), "")
        reply = "unverified" if first in ("late", "refused") else first
        assert raised.verification == ("pending" if alert == "start" else reply)
    if reports and reports != ["refused"]:
        # The last report is published, also after the alert.
        assert watch.of(Incident)[-1].verification == reports[-1].replace("late", "unverified")


def test_without_verification_an_alert_is_at_the_start_or_not_at_all() -> None:
    assert len(Watch(rule("enter", zone="door", alert="start")).for_s(2, "a").for_s(5).of(Alert)) == 1
    assert Watch(ENTER).for_s(2, "a").for_s(5).until(10_000).of(Alert) == []


def test_a_time_repeated_after_a_clock_is_set_back_is_another_incident() -> None:
    watch = Watch(rule("count", under=1)).for_s(0.5, "")
    watch.incidents.reset()
    watch.tick = 0
    watch.for_s(0.5, "")
    begun = [i for i in watch.of(Incident) if i.state == "start"]
    assert begun[0].start == begun[1].start and begun[0].incident != begun[1].incident


def test_overdue_incidents_make_room_for_pending_ones() -> None:
    watch = Watch(rule("enter", zone="door", verify="Is someone there?"))
    watch.for_s(1, *(f"a{k}" for k in range(60))).until(1000).for_s(3)
    for n in range(2):
        watch.for_s(1, *(f"{n}-{k}" for k in range(90))).for_s(3)
    waiting = [a for a in watch.incidents.state.pending.values() if not a.unverified]
    assert len(waiting) == 180 and len(watch.incidents.state.pending) == 200


def test_removed_rules_end_their_incidents_and_others_continue() -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a")
    id = watch.of(Incident)[0].incident
    watch.incidents.end_all(keep={"r"})
    watch.incidents.forget({"r"})
    assert watch.for_s(1, "a").states() == [("start", 0.0)]
    watch.incidents.end_all(keep={"other"})
    watch.incidents.forget({"other"})
    assert watch.verdict(verdict(id, "confirmed")).states()[1:] == [("end", 2.75), ("update", 2.75)]
    assert watch.of(Incident)[-1].end == START + 2.75 * SECOND and len(watch.of(Alert)) == 1
    assert watch.incidents.state.by_rule == {} and watch.until(10_000).states()[3:] == []


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


# ---- counts

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
