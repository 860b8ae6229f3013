"""Conditions of rules: passages at borders, and each kind of rule."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.rules import conditions
from services.analytics.rules.conditions import ObservedScene
from services.analytics.tracking import places
from tests.support.worlds.incident_watch import (
    ASPECT,
    DOOR,
    GATE,
    HEIGHT,
    IN,
    LEFT,
    NEAR,
    OUT,
    RIGHT,
    WIDTH,
    Someone,
    T,
    book,
    rule,
    stands,
    true,
    walks,
)


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
