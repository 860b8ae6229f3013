"""The order of segments over several connections of a camera."""

from __future__ import annotations

import msgspec
import pytest

from services.analytics.camera.order import MOST_EPOCHS, MOST_WAITING, Order, OrderProgress
from tests.support.effort import assert_cheap
from tests.support.worlds.arrivals import REORDER_S, Arrival, Watched, due, play, push, row, whole


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
