"""The order of segments: invariants of any arrival, and the time at which a gap expires."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.camera.order import MOST_EPOCHS, MOST_WAITING, Order, OrderProgress
from tests.support.effort import assert_cheap

REORDER_S = 3.0


class Arrival(NamedTuple):
    at: float
    epoch: str
    n: int
    seq: int
    start: float = 0.0
    # Which of those that are the same segment.
    copy: str = ""

    @property
    def name(self) -> str:
        return f"{self.epoch}{self.n}{self.copy}"


class Watched(Order[str]):
    """One that fails where `due` would never come to an end."""

    calls = 0

    def deadline(self) -> float | None:
        self.calls += 1
        assert self.calls < 10_000
        return super().deadline()


def push(order: Order[str], a: Arrival, *, again: bool = False) -> list[str]:
    return order.push(a.epoch, a.n, seq=a.seq, at=a.at, start=a.start, item=a.name, is_reread=again)


def play(order: Order[str], arrivals: Sequence[Arrival]) -> list[str]:
    """Return the segments in the order in which they come out; each deadline is met at its own time."""
    out = []
    for a in arrivals:
        out += due(order, a.at)
        out += push(order, a)
    return out


def due(order: Order[str], until: float) -> list[str]:
    """Pass all deadlines until then: at each, at least one segment comes out or is late."""
    out = []
    while (deadline := order.deadline()) is not None and deadline <= until:
        late = order.late
        given_up = order.due(deadline)
        assert given_up or order.late > late
        out += given_up
    return out


def whole(arrivals: Sequence[Arrival]) -> tuple[list[str], Order[str]]:
    order = Watched(REORDER_S)
    out = play(order, arrivals) + due(order, float("inf"))
    assert order.waiting() == [] and order.deadline() is None
    return out, order


def row(epoch: str, *numbers: int, at: float = 0.0, seq: int = 1) -> list[Arrival]:
    """One a second, in the order given; sequences by their number."""
    return [Arrival(at + i, epoch, n, seq + n) for i, n in enumerate(numbers)]


# ---- laws


class Scene(NamedTuple):
    """The stored segments in the order of their epochs, and the arrival time of each."""

    stored: list[Arrival]
    arrivals: list[Arrival]
    missing: int


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """One to four connections, one segment a second; each arrives within `REORDER_S` of being stored, or never does.

    Of the first connection, whose beginning we may have missed, the first segment does arrive.
    """
    stored: list[Arrival] = []
    arrivals: list[Arrival] = []
    missing = time = 0
    for epoch in draw(st.sampled_from(["a", "ab", "ba", "abc", "cabd"])):
        first = draw(st.sampled_from([0, 0, 7])) if not time else 0
        there = draw(st.lists(st.booleans(), min_size=4, max_size=10))
        there[0] = there[0] or not time
        numbers = [first + i for i, present in enumerate(there) if present]
        if numbers:
            missing += numbers[-1] + 1 - first - len(numbers)
        for n in numbers:
            a = Arrival(float(time + n - first), epoch, n, 1 + time + n - first)
            stored.append(a)
            arrivals.append(a._replace(at=a.at + draw(st.integers(0, 29)) / 10))
        time += len(there)
    return Scene(stored, sorted(arrivals, key=lambda a: a.at), missing)


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


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    """Anything: connections in each other's way, delays of any length, repeats. Each was stored after the one before
    it, or they were by turns.
    """
    steps = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.integers(0, 6)), max_size=40))
    times = itertools.accumulate(s[0] / 10 for s in steps)
    each, then = draw(st.sampled_from([(10, 1), (1, 4)]))
    fast = draw(st.sampled_from([0, 0, 1, 10]))
    return [
        Arrival(at, "abcd"[e], n, 1 + each * e + then * n, start=fast * (each * e + then * n))
        for at, (_, e, n) in zip(times, steps, strict=True)
    ]


@given(streams())
def test_each_segment_comes_out_once_in_order_or_is_counted(arrivals: list[Arrival]) -> None:
    out, order = whole(arrivals)
    assert max(Counter(out).values(), default=1) == 1
    assert len(out) + order.late + order.repeated == len(arrivals)
    epochs = [epoch for epoch, _ in itertools.groupby(out, key=lambda name: name[0])]
    stored = [epoch for epoch, _ in itertools.groupby(sorted(arrivals, key=lambda a: a.seq), key=lambda a: a.epoch)]
    if len(set(stored)) == len(stored):
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


# ---- one connection


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


# ---- where we come in


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


# ---- connections


def test_a_new_connection_waits_its_turn() -> None:
    order = Watched(REORDER_S)
    assert play(order, row("a", 0, 1)) == ["a0", "a1"]
    assert play(order, row("b", 0, at=2, seq=10)) == []
    assert play(order, row("a", 2, at=3)) == ["a2"]
    assert order.deadline() == 2 + REORDER_S
    assert play(order, row("b", 1, at=4, seq=10)) == []
    assert order.due(2 + REORDER_S) == ["b0", "b1"]
    assert play(order, row("b", 2, at=6, seq=10)) == ["b2"]
    assert order.place.epoch == "b" and order.place.past == ["a"]


def test_a_gap_of_the_previous_connection_has_priority() -> None:
    order = Watched(REORDER_S)
    play(order, [*row("a", 0), *row("b", 0, at=1, seq=10), *row("a", 2, at=3)])
    assert order.deadline() == 3 + REORDER_S
    assert order.due(1 + REORDER_S) == []
    assert order.due(3 + REORDER_S) == ["a2", "b0"]


def test_a_segment_of_an_ended_connection_is_late() -> None:
    order = Watched(REORDER_S)
    play(order, [*row("a", 0), *row("b", 0, at=1, seq=10)])
    assert order.due(1 + REORDER_S) == ["b0"]
    assert play(order, row("a", 1, 0, at=5)) == []
    assert (order.late, order.repeated) == (2, 0)


def test_the_first_segments_of_a_connection_can_be_a_gap() -> None:
    order = Watched(REORDER_S)
    play(order, [*row("a", 0), *row("b", 2, at=1, seq=10)])
    assert order.due(1 + REORDER_S) == ["b2"] and order.gaps == 2
    assert play(order, row("b", 1, at=5, seq=10)) == [] and order.late == 1


def test_the_waiting_connection_that_was_stored_first_is_next() -> None:
    order = Watched(REORDER_S)
    play(order, [*row("a", 0), *row("c", 0, at=1, seq=20), *row("b", 0, at=2, seq=10)])
    assert due(order, 100) == ["b0", "c0"]


def test_an_ended_connection_stays_ended_after_many_others() -> None:
    arrivals = [a for i in range(30) for a in row(f"e{i}-", 0, at=10 * i, seq=1 + 10 * i)]
    order = Watched(REORDER_S)
    play(order, arrivals)
    assert due(order, 1000)[-1:] == ["e29-0"]
    for i in range(29):
        assert order.push(f"e{i}-", 1, seq=2 + 10 * i, at=1000, item="late") == []
    assert order.late == 29 and order.waiting() == []
    assert len(msgspec.msgpack.encode(order.place)) < 200


def test_old_video_stored_late_ends_no_connection() -> None:
    """An ingest frozen at its start stores its buffer once it resumes; another ingest has had the camera since.

    That once ended the live connection: its segments were late until the next connection to the camera.
    """
    order = Watched(REORDER_S)
    live = row("b", *range(20), seq=10)
    left = [Arrival(5.5, "a", n, 15) for n in range(2)]
    arrivals = [*live[:6], *left, *(a._replace(seq=a.seq + 2) for a in live[6:])]
    assert play(order, arrivals) == [a.name for a in live]
    assert order.late == 2 and order.place.epoch == "b"


def test_the_connection_after_a_late_one_is_not_late() -> None:
    """A camera moves, and the ingest that has it next is slow to store the rest."""
    order = Watched(REORDER_S)
    play(order, [*row("a", 0, 1), *row("b", 0, at=2, seq=3), *row("a", 2, 3, 4, 5, 6, at=3, seq=2)])
    assert order.late == 1
    assert play(order, row("b", *range(1, 8), at=9, seq=20)) == ["b1", "b2", "b3", "b4", "b5", "b6", "b7"]


def test_a_straggler_with_a_clock_ahead_ends_no_connection() -> None:
    """Its worker died, and its clock was an hour ahead: its video seems to be newer."""
    order = Watched(REORDER_S)
    play(order, [Arrival(0, "a", 0, 1, 3600.0), *row("b", 0, 1, at=1, seq=10)])
    arrivals = [*row("b", *range(2, 8), at=6, seq=10), Arrival(6.5, "a", 1, 2, 3601.0)]
    assert due(order, 5) == ["b0", "b1"]
    assert play(order, sorted(arrivals, key=lambda a: a.at)) == ["b2", "b3", "b4", "b5", "b6", "b7"]
    assert order.late == 1


def test_waiting_segments_wait_again_after_a_restart() -> None:
    arrivals = [
        Arrival(at, epoch, n, seq)
        for at, epoch, n, seq in [
            (0, "b", 0, 1),
            (1, "a", 0, 2),
            (6, "c", 0, 40),
            (7, "b", 5, 50),
            (8, "c", 1, 60),
            (9.5, "c", 2, 59),
        ]
    ]
    one = Watched(REORDER_S)
    play(one, arrivals)
    other = Watched(REORDER_S, msgspec.msgpack.decode(msgspec.msgpack.encode(one.place), type=OrderProgress))
    for a in arrivals:
        if a.name in one.waiting():
            push(other, a, again=True)
    assert sorted(other.waiting()) == sorted(one.waiting())


def test_a_connection_that_seemed_over_continues() -> None:
    """Older video came while the connection was silent, as if its ingest was cut off for a while."""
    order = Watched(REORDER_S)
    play(order, [*row("b", 0, 1, seq=10), *row("a", 0, at=2, seq=12)])
    assert due(order, 8) == ["a0"]
    assert play(order, row("b", *range(2, 9), at=9, seq=20)) == ["b2", "b3", "b4", "b5", "b6", "b7", "b8"]
    assert order.gaps == order.late == 0 and order.place.past == ["a"]


@pytest.mark.parametrize(("epoch", "n"), [("", 0), ("", 3), ("b", -1), ("b", 2**62)])
@pytest.mark.parametrize("first", [True, False])
def test_impossible_segments_delay_nothing(epoch: str, n: int, first: bool) -> None:
    before = [] if first else row("a", 0, 1)
    out, _ = whole([*before, Arrival(2, epoch, n, 10), *row("c", 0, 1, 2, at=20, seq=20)])
    assert out[-3:] == ["c0", "c1", "c2"]


def test_a_straggler_of_an_unseen_connection_ends_none_after_a_clock_is_set_back() -> None:
    """The one before had one segment, whose worker died; then the camera's clock was set back by two seconds."""
    order = Watched(REORDER_S)
    for n in range(3):
        order.push("c", n, seq=20 + n, at=100 + n, item=f"c{n}", start=98 + n)
    assert order.push("b", 0, seq=10, at=103, item="b0", start=100) == [] and order.late == 1
    assert order.push("c", 3, seq=23, at=104, item="c3", start=101) == ["c3"]
    assert order.deadline() is None


def test_a_recreated_stream_is_no_straggler() -> None:
    order = Watched(REORDER_S)
    order.push("a", 0, seq=5000, at=100, item="a0", start=100)
    assert order.push("b", 0, seq=1, at=160, item="b0", start=160) == []
    assert due(order, 200) == ["b0"]


@pytest.mark.parametrize("gap", [1, 2])
def test_the_number_of_waiting_segments_is_limited(gap: int) -> None:
    """A process that publishes false numbers of a camera holds up nothing: the first gap is given up."""
    order: Order[str] = Order(REORDER_S)
    arrivals = [Arrival(0.0, "a", 0, 1)] + [Arrival(0.0, "a", 2 + gap * n, 2 + n) for n in range(2 * MOST_WAITING)]
    came = play(order, arrivals)
    assert len(order.waiting()) <= MOST_WAITING
    assert came == [a.name for a in arrivals[: len(came)]], "the oldest first, and none is left out"
    assert len(came) + len(order.waiting()) == len(arrivals)


def test_invented_connections_come_out_in_their_order() -> None:
    order: Order[str] = Order(REORDER_S)
    came = play(order, [Arrival(0.0, f"e{n}.", 5, n) for n in range(4 * MOST_EPOCHS)])
    assert came == [f"e{n}.5" for n in range(len(came))]
    assert len(order.waiting()) <= MOST_EPOCHS


@pytest.mark.parametrize("invented", ["'e', 5 + 2 * n", "f'e{n}', 5"])
def test_the_cost_of_a_flood_is_linear(invented: str) -> None:
    """The time was once quadratic in the segments that came while a missing one was pending."""
    push = f"order.push({invented}, seq=n, at=n * 1e-5, item=n), order.deadline()"
    setup = "from services.analytics.camera.order import Order; order = Order(15.0)"
    assert_cheap(setup, f"[({push}) for n in range(40000)]")
