"""The order of segments: invariants of any arrival, and the time at which a gap expires."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from services.analytics.camera.order import AHEAD_S, OrderProgress
from tests.support.worlds.arrivals import (
    REORDER_S,
    Arrival,
    Scene,
    Watched,
    due,
    play,
    push,
    row,
    scenes,
    streams,
    whole,
)


@given(scenes())
def test_delays_within_the_wait_make_no_difference(scene: Scene) -> None:
    out, order = whole(scene.arrivals)
    assert out == [a.name for a in scene.stored]
    assert (order.gaps, order.late, order.repeated) == (scene.missing, 0, 0)


@given(scenes(), st.data())
def test_a_repeated_segment_is_counted_and_changes_nothing(scene: Scene, data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(scene.arrivals), max_size=10))
    later = data.draw(st.lists(st.integers(0, 100), min_size=len(again), max_size=len(again)))
    repeats = [a._replace(at=a.at + s / 10) for a, s in zip(again, later, strict=True)]
    out, order = whole(sorted([*scene.arrivals, *repeats], key=lambda a: a.at))
    assert out == [a.name for a in scene.stored]
    # The order forgets which segments of an ended connection came.
    assert order.late + order.repeated == len(repeats) and order.gaps == scene.missing
    if len({a.epoch for a in scene.stored}) == 1:
        assert order.late == 0


# A camera whose clock is far ahead: its age is unknown, so an older connection counts as a newer one.
AHEAD = [Arrival(0.0, "d", 0, 31, 310.0), Arrival(3.1, "b", 0, 11, 110.0), Arrival(6.1, "d", 1, 32, 320.0)]


@given(streams())
@example(AHEAD)
def test_each_segment_comes_out_once_in_order_or_is_counted(arrivals: list[Arrival]) -> None:
    out, order = whole(arrivals)
    assert max(Counter(out).values(), default=1) == 1
    assert len(out) + order.late + order.repeated == len(arrivals)
    epochs = [epoch for epoch, _ in itertools.groupby(out, key=lambda name: name[0])]
    stored = [epoch for epoch, _ in itertools.groupby(sorted(arrivals, key=lambda a: a.seq), key=lambda a: a.epoch)]
    are_dated = all(a.start <= a.at + AHEAD_S for a in arrivals)
    if are_dated and len(set(stored)) == len(stored):
        assert len(set(epochs)) == len(epochs), "what was stored one after the other comes out so"
    for epoch in set(epochs):
        numbers = [int(name[1:]) for name in out if name[0] == epoch]
        assert numbers == sorted(numbers)


@given(streams(), st.data())
def test_a_restart_continues_exactly(arrivals: list[Arrival], data: st.DataObject) -> None:
    arrivals = [a._replace(copy=f"#{i}") for i, a in enumerate(arrivals)]
    stop = data.draw(st.integers(0, len(arrivals)))
    one = Watched(REORDER_S)
    before = play(one, arrivals[:stop])
    other = Watched(REORDER_S, msgspec.msgpack.decode(msgspec.msgpack.encode(one.place), type=OrderProgress))
    held = set(one.waiting())
    for a in arrivals[:stop]:
        if a.name in held:
            assert push(other, a, again=True) == []
    assert other.deadline() == one.deadline()
    after = play(other, arrivals[stop:]) + due(other, float("inf"))
    assert before + after == whole(arrivals)[0]


@given(streams())
def test_no_segment_waits_longer_than_the_limit(arrivals: list[Arrival]) -> None:
    order = Watched(REORDER_S)
    for a in arrivals:
        play(order, [a])
        deadline = order.deadline()
        assert (deadline is None) == (order.waiting() == [])
        # This holds for one connection; the turn of another may come later.
        assert deadline is None or deadline <= a.at + REORDER_S


@given(streams(), st.sampled_from("abcde"))
def test_a_live_connection_comes_out_after_any_arrivals(arrivals: list[Arrival], epoch: str) -> None:
    order = Watched(REORDER_S)
    play(order, arrivals)
    live = row(epoch, *range(7, 20), at=max((a.at for a in arrivals), default=0.0), seq=100)
    out = play(order, live)
    assert out[-1] == live[-1].name and set(out) >= {a.name for a in live}


def test_segments_in_order_pass_immediately() -> None:
    order = Watched(REORDER_S)
    for a in row("a", 0, 1, 2, 3):
        assert order.push(a.epoch, a.n, seq=a.seq, at=a.at, item=a.name) == [a.name]
        assert order.deadline() is None and order.waiting() == []


def test_segments_behind_a_gap_come_out_with_the_missing_one() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 0, 3, 2)) == ["a0"]
    assert sorted(order.waiting()) == ["a2", "a3"]
    assert order.push("a", 1, seq=2, at=3.5, item="a1") == ["a1", "a2", "a3"]
    assert (order.waiting(), order.deadline(), order.gaps) == ([], None, 0)


def test_a_gap_expires_when_the_first_segment_behind_it_waited_long_enough() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 0, 3, 4)) == ["a0"]
    assert order.deadline() == 1 + REORDER_S
    assert order.due(1 + REORDER_S - 0.001) == [] and order.gaps == 0
    assert order.due(1 + REORDER_S) == ["a3", "a4"] and order.gaps == 2
    assert order.push("a", 5, seq=6, at=4.5, item="a5") == ["a5"]


def test_each_gap_has_its_own_timeout() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 0, 2, 4)) == ["a0"]
    assert order.due(1 + REORDER_S) == ["a2"]
    assert order.deadline() == 2 + REORDER_S
    assert order.due(2 + REORDER_S) == ["a4"] and order.gaps == 2


def test_one_call_expires_all_due_gaps() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 0, 2, 4)) == ["a0"]
    assert order.due(100) == ["a2", "a4"] and order.gaps == 2


def test_a_late_segment_is_dropped_and_counted() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 0, 3)) == ["a0"]
    assert order.due(1 + REORDER_S) == ["a3"]
    assert play(order, row("a", 2, 4, 1, at=5)) == ["a4"]
    assert (order.late, order.repeated, order.gaps) == (2, 0, 2)


def test_a_segment_that_already_came_counts_as_repeated() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 0, 1, 1, 3, 3, 0)) == ["a0", "a1"]
    assert (order.late, order.repeated, order.gaps) == (0, 3, 0)
    assert order.waiting() == ["a3"]


def test_a_gap_without_a_wait_expires_immediately() -> None:
    order = Watched(0)
    assert order.push("a", 0, seq=1, at=1, item="a0") == ["a0"]
    assert order.push("a", 2, seq=3, at=2, item="a2") == []
    assert order.deadline() == 2 and order.due(2) == ["a2"]


def test_a_start_in_the_middle_waits_for_earlier_segments_and_counts_no_gap() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 6, 5, 7)) == []
    assert order.deadline() == REORDER_S
    assert order.due(REORDER_S) == ["a5", "a6", "a7"]
    assert order.push("a", 8, seq=9, at=4, item="a8") == ["a8"]
    assert (order.gaps, order.late, order.repeated) == (0, 0, 0)


def test_segments_from_before_the_start_are_late() -> None:
    order = Watched(REORDER_S)
    play(order, row("a", 5))
    assert order.due(REORDER_S) == ["a5"]
    assert play(order, row("a", 3, at=4)) == []
    assert (order.late, order.repeated) == (1, 0)


def test_a_connection_that_ends_at_the_start_does_not_displace_the_next_one() -> None:
    arrivals = [*row("a", 5, 6), *row("b", *range(12), at=2, seq=100)]
    out, order = whole(arrivals)
    assert out == [a.name for a in arrivals]
    assert (order.late, order.gaps) == (0, 0)
