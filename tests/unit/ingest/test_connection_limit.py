"""Whether a camera plays one stream at a time: inferred from repetition, and taken back by proof."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.camera.connection_limit import SIGNS, TOGETHER_S, ConnectionLimit, Sign
from services.ingest.streams import Stream

MEDIA, MAIN = Stream.MEDIA, Stream.MAIN


def playing(limit: ConnectionLimit, stream: Stream, now: float) -> None:
    limit.begin(stream)
    limit.opened(stream, now)


def refuse(limit: ConnectionLimit, stream: Stream, cause: str, now: float) -> None:
    limit.begin(stream)
    limit.ended(stream, cause, now)


def test_repeated_refusals_next_to_the_other_stream_are_a_limit() -> None:
    limit = ConnectionLimit()
    playing(limit, MEDIA, 0.0)
    for n in range(SIGNS):
        assert limit.explains("rejected") is None
        refuse(limit, MAIN, "rejected", float(n))
    assert limit.explains("rejected") is Sign.REFUSES
    assert limit.explains("not_found") is None, "a wrong path has its own remedy"


def test_refusals_without_the_other_stream_are_no_limit() -> None:
    limit = ConnectionLimit()
    for n in range(9):
        refuse(limit, (MEDIA, MAIN)[n % 2], "refused", float(n))
    assert limit.explains("refused") is None


def test_a_stream_that_ends_whenever_the_other_begins_is_a_limit() -> None:
    limit = ConnectionLimit()
    playing(limit, MEDIA, 0.0)
    for n in range(SIGNS):
        begins, ends = ((MAIN, MEDIA), (MEDIA, MAIN))[n % 2]
        playing(limit, begins, 5.0 * n + 4)
        limit.ended(ends, "ended", 5.0 * n + 4.2)
    assert limit.explains("ended") is Sign.ENDS


def test_an_end_while_the_other_stream_connects_counts_once_that_plays() -> None:
    limit = ConnectionLimit()
    playing(limit, MEDIA, 0.0)
    for n in range(SIGNS):
        begins, ends = ((MAIN, MEDIA), (MEDIA, MAIN))[n % 2]
        limit.begin(begins)
        limit.ended(ends, "connection_lost", 5.0 * n + 1)
        limit.opened(begins, 5.0 * n + 2)
    assert limit.explains("connection_lost") is Sign.ENDS


@given(st.lists(st.tuples(st.sampled_from([MEDIA, MAIN]), st.floats(TOGETHER_S, 1e4)), max_size=20))
def test_streams_that_play_together_are_never_a_limit(ends: list[tuple[Stream, float]]) -> None:
    limit, now = ConnectionLimit(), 0.0
    for stream in (MEDIA, MAIN):
        playing(limit, stream, now)
    for stream, seconds in ends:
        now += seconds
        limit.ended(stream, "ended", now)
        playing(limit, stream, now + 1)
        now += 1
        assert limit.explains("ended") is None
