"""The counts of chaos: missing video, duplicate video, and connections that outlast their successor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.chaos.ledger import TOLERATED_S, Ledger, Piece, of_camera


def piece(n: int, start: float, *, epoch: str = "e", seconds: float = 1.0, seq: int = 0) -> Piece:
    return Piece("lobby", epoch, n, start, start + seconds, seq or n + 1)


def test_complete_video_has_no_gap() -> None:
    account = of_camera([piece(n, 100.0 + n) for n in range(10)])
    assert account == (0.0, 0.0, 0.0, 0, 0)


def test_a_gap_is_as_long_as_the_missing_video() -> None:
    account = of_camera([piece(0, 100.0), piece(1, 104.0, epoch="f"), piece(2, 106.0, epoch="f")])
    assert (account.missing_s, account.longest_s) == (4.0, 3.0)


def test_video_of_two_connections_is_doubled() -> None:
    one = [piece(n, 100.0 + n) for n in range(5)]
    account = of_camera([*one, *(piece(n, 102.0 + n, epoch="f") for n in range(5))])
    assert (account.doubled_s, account.missing_s, account.repeated) == (2.0, 0.0, 0)


@pytest.mark.parametrize("phase", [0.1, 0.5, 0.9])
def test_video_of_two_connections_is_doubled_at_any_keyframe_phase(phase: float) -> None:
    """A connection begins within a segment of the one before it, and no more is there twice."""
    one = [piece(n, 100.0 + n) for n in range(5)]
    other = [piece(n, 104.0 + phase + n, epoch="f") for n in range(5)]
    assert of_camera([*one, *other]) == (0.0, 0.0, 0.0, 0, 0)
    both = [p._replace(epoch="g", start=p.start - 4, end=p.end - 4) for p in other]
    assert 3.0 < of_camera([*one, *both]).doubled_s < 4.5


def test_missing_numbers_were_cut_and_not_stored() -> None:
    account = of_camera([piece(0, 100.0), piece(3, 103.0), piece(1, 104.0, epoch="f")])
    assert account.skipped == 3


def test_a_segment_stored_twice_is_counted_and_is_no_gap() -> None:
    account = of_camera([piece(0, 100.0), piece(1, 101.0), piece(1, 101.0, seq=9)])
    assert (account.repeated, account.missing_s, account.doubled_s) == (1, 0.0, 0.0)


def test_an_earlier_gap_is_not_counted_again() -> None:
    ledger = Ledger()
    for one in (piece(0, 100.0), piece(1, 110.0), piece(2, 111.0), piece(3, 115.0)):
        ledger.segment(one)
    assert ledger.account(["lobby", "never seen"]).missing_s == 12.0
    assert ledger.account(["lobby"], since=111.5).missing_s == 3.0
    assert ledger.account(["lobby"], until=111.5).missing_s == 9.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), min_size=1, max_size=30), st.randoms())
def test_present_and_missing_time_add_up(spans: list[tuple[int, int]], dice: object) -> None:
    """The test compares whole seconds with a set of them, in any order of storage."""
    pieces = [piece(n, float(start), seconds=float(long)) for n, (start, long) in enumerate(spans)]
    dice.shuffle(pieces)  # type: ignore[attr-defined]
    there = {second for start, long in spans for second in range(start, start + long)}
    span = max(there) + 1 - min(there)
    assert of_camera(pieces).missing_s == span - len(there)
    assert TOLERATED_S < 1.0


def test_the_newest_segment_and_the_newest_seen_one_are_reported() -> None:
    ledger = Ledger()
    ledger.segment(piece(0, 100.0))
    ledger.segment(piece(1, 101.0))
    ledger.event(1)
    assert (ledger.newest("lobby"), ledger.newest_seen("lobby")) == (102.0, 101.0)
    assert (ledger.newest("none"), ledger.newest_seen("none")) == (0.0, 0.0)


def test_video_with_a_wrong_clock_is_neither_missing_nor_doubled_nor_fresh() -> None:
    ledger = Ledger()
    ledger.segment(piece(0, 100.0))
    ledger.dated = False
    ledger.segment(piece(1, 500.0))
    ledger.event(2)
    ledger.dated = True
    ledger.segment(piece(3, 101.0))
    assert ledger.account(["lobby"]) == (0.0, 0.0, 0.0, 1, 0)
    assert (ledger.newest("lobby"), ledger.newest_seen("lobby")) == (102.0, 0.0)


def test_each_incident_is_published_once_and_has_one_alert() -> None:
    ledger = Ledger()
    for id, state in (("a", "start"), ("a", "update"), ("a", "update"), ("a", "end"), ("b", "start")):
        ledger.incident(id, state)
    ledger.alert("a")
    assert (ledger.unalerted, ledger.repeated_incidents) == (1, 0)
    ledger.alert("b")
    assert (ledger.unalerted, ledger.repeated_incidents) == (0, 0)
    ledger.alert("c")
    ledger.alert("b")
    ledger.incident("a", "end")
    assert (ledger.unalerted, ledger.repeated_incidents) == (1, 2)


def test_a_degraded_segment_has_one_revision_in_the_end() -> None:
    ledger = Ledger()
    ledger.deferred |= {"a", "b"}
    ledger.revision("a")
    assert (ledger.unrevised, ledger.revised_twice) == (1, 0)
    for first in ("b", "of-an-event-of-full-quality", "b"):
        ledger.revision(first)
    assert (ledger.unrevised, ledger.revised_twice) == (0, 1)
