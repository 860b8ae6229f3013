"""Headers of a segment: read as they were written, or refused."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from shared.contract import segment
from shared.runtime.errors import BadSegment

segments = st.builds(
    segment.Segment,
    camera=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    epoch=st.from_regex(r"[A-Za-z0-9_-]{1,16}", fullmatch=True),
    n=st.integers(0, 10**9),
    start=st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)).map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
    ),
    duration=st.integers(0, 3_600_000).map(lambda ms: ms / 1000),
    codec=st.sampled_from(["h264", "hevc"]),
    width=st.integers(1, 16384),
    height=st.integers(1, 16384),
    frames=st.integers(1, 100_000),
    key_seq=st.none() | st.integers(1, 2**53),
)


@given(segments)
def test_headers_round_trip(given_segment: segment.Segment) -> None:
    headers = segment.to_headers(given_segment)
    assert all(isinstance(v, str) for v in headers.values())
    assert segment.from_headers(headers) == given_segment


@given(st.dictionaries(st.sampled_from([*segment._HEADERS, "X"]), st.text(max_size=12)))
def test_any_headers_are_read_or_refused(headers: dict[str, str]) -> None:
    try:
        segment.from_headers(headers)
    except BadSegment as e:
        assert "not a segment" in str(e)
