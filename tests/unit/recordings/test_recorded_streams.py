"""Each time is recorded from one stream: the main one, and the substream while that is away."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract.segment import Segment
from shared.recordings.ledger import Last, hole_before
from shared.recordings.records import Hole
from shared.recordings.streams import AWAY, LATE, SKEW, select_streams
from shared.recordings.windows import HOLE, Head
from tests.support.examples import examples

T0 = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)


def s(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


def head(seq: int, start: float, *, main: bool = False, key: bool = True, epoch: str = "") -> Head:
    """A segment of a second."""
    segment = Segment(
        camera="cam",
        epoch=epoch or ("m" if main else "s"),
        n=int(start),
        start=T0 + s(start),
        duration=1.0,
        codec="h264",
        width=64,
        height=48,
        frames=25,
        key_seq=None if key else 1,
    )
    return Head(seq, segment, 1000, main)


def both(main: Sequence[float], substream: Sequence[float], **fields: Any) -> list[Head]:
    """Segments of both streams that begin at these seconds, stored as they end."""
    row = sorted([(start, True) for start in main] + [(start, False) for start in substream])
    return [head(seq, start, main=is_main, **fields) for seq, (start, is_main) in enumerate(row, 1)]


def starts(heads: Sequence[Head], main: bool) -> list[float]:
    return [(one.segment.start - T0).total_seconds() for one in heads if one.main == main]


starting = st.lists(st.integers(0, 60), unique=True).map(sorted)


@settings(max_examples=examples(200))
@given(st.lists(st.builds(head, st.just(0), st.floats(0, 99), key=st.booleans()), max_size=9), st.booleans())
def test_a_camera_with_one_stream_is_recorded_whole(heads: list[Head], ended: bool) -> None:
    """Whatever its clock does."""
    row = [one._replace(seq=n) for n, one in enumerate(heads, 1)]
    for last in (None, Last(seq=0, epoch="s", n=0, end=T0 + s(50))):
        assert select_streams(row, last, ended=ended) == row


@settings(max_examples=examples(200))
@given(starting, starting, st.booleans(), st.integers(0, 60))
def test_no_time_is_recorded_twice_and_none_is_left_out(
    main: list[int], substream: list[int], ended: bool, split: int
) -> None:
    """In one step, or in two: the ledger's position is between."""
    heads = both(main, [one + 0.1 for one in substream])
    found = select_streams(heads, None, ended=ended)
    assert [one.seq for one in found] == sorted({one.seq for one in found})
    assert starts(found, True) == main
    for one in found:
        others = [other for other in found if other.main != one.main]
        assert not any(min(a.end, one.end) - max(a.segment.start, one.segment.start) > SKEW for a in others)
    for one in heads:
        is_near = any(abs(one.segment.start - (T0 + s(n))) <= s(1) + HOLE for n in main)
        is_undecided = main and not ended and T0 + s(main[-1]) < one.segment.start
        assert one in found or is_near or is_undecided
    recorded = found[: split % (len(found) + 1)]
    last = Last.of(recorded[-1]) if recorded else None
    rest = [one for one in heads if not last or one.seq > last.seq]
    assert [*recorded, *select_streams(rest, last, ended=ended)] == found


def test_the_substream_waits_for_the_main_stream() -> None:
    """Its last segments are recorded once the main stream is away."""
    main, behind = range(20), range(25)
    assert starts(select_streams(both(main, behind), None, ended=False), False) == []
    away = select_streams(both(main, range(30)), None, ended=False)
    assert starts(away, False) == list(range(20, 30)) and s(10) == AWAY
    assert starts(select_streams(both(main, behind), None, ended=True), False) == list(range(20, 25))
    assert starts(select_streams(both(main, range(21)), None, ended=True), False) == []


def test_the_substream_begins_with_a_keyframe() -> None:
    heads = both(range(5), [])
    heads += [head(10 + n, 5 + n, key=n % 4 == 3) for n in range(20)]
    assert starts(select_streams(heads, None, ended=False), False) == [float(n) for n in range(8, 25)]


def test_a_main_stream_that_comes_late_shows_nothing_again() -> None:
    """Nor does a clock that steps back by more than that stop a recording."""
    last = Last(seq=5, epoch="s", n=5, end=T0 + s(30))
    late = [head(10 + n, 25 + n, main=True) for n in range(10)]
    assert starts(select_streams(late, last, ended=False), True) == [30, 31, 32, 33, 34]
    back = [head(10 + n, n, main=True) for n in range(3)]
    ahead = Last(seq=5, epoch="s", n=5, end=T0 + s(5) + LATE)
    assert starts(select_streams(back, ahead, ended=False), True) == [0, 1, 2]
    substream = [head(10 + n, n) for n in range(3)]
    ahead = Last(seq=5, epoch="m", n=5, end=T0 + s(5) + LATE, main=True)
    assert starts(select_streams(substream, ahead, ended=False), False) == [0, 1, 2]


def test_segments_that_were_left_out_are_no_hole() -> None:
    last = Last(seq=5, epoch="m", n=5, end=T0 + s(30), main=True)
    assert hole_before(last, head(9, 31), expired=False) is None
    assert hole_before(last, head(9, 40), expired=False) == Hole(
        since=T0 + s(30), until=T0 + s(40), cause="camera", segments=0
    )
