"""Times in requests of the page Now."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.now.series.time_steps import LONGEST, MOST_POINTS, bounds, span
from services.console.web.refused import Refused
from tests.support.worlds.now_bodies import NOW

BAD_TIMES = (
    "yesterday",
    "12:00",
    "2026-11-29",
    "2026-11-29T12:00:00",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "2026-13-01T00:00:00Z",
    "1e400",
    "\x00",
    "٢٠٢٦-11-29T12:00:00Z",
)


@pytest.mark.parametrize("text", BAD_TIMES)
@pytest.mark.parametrize("which", ["since", "until"])
def test_an_invalid_time_is_refused_in_a_sentence(which: str, text: str) -> None:
    with pytest.raises(Refused, match=which) as refused:
        span(**{"since": "", "until": "", which: text}, step="", now=NOW)
    assert refused.value.status == 400


@pytest.mark.parametrize("step", ["nan", "inf", "-inf", "-5", "0", "x", "5 s", "1e999", "4.9", "\u0665x"])
def test_an_invalid_step_is_refused_in_a_sentence(step: str) -> None:
    with pytest.raises(Refused, match="step") as refused:
        span("", "", step, NOW)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("since", "until", "step"),
    [
        ("2026-11-29T12:00:00Z", "2026-11-29T11:00:00Z", ""),
        ("2026-11-29T12:00:00Z", "2026-11-29T12:00:00Z", ""),
        ("2026-11-29T13:00:00Z", "", ""),
        ("1970-01-01T00:00:00Z", "", ""),
        ("", "1970-01-01T00:00:00Z", ""),
        ("2025-01-01T00:00:00Z", "2100-01-01T00:00:00Z", ""),
        ("2026-11-28T12:00:00Z", "2026-11-29T12:00:00Z", "5"),
    ],
)
def test_an_empty_range_is_refused(since: str, until: str, step: str) -> None:
    with pytest.raises(Refused) as refused:
        span(since, until, step, NOW)
    assert refused.value.status == 400 and str(refused.value)[-1] not in ".:"


def test_the_default_range_is_the_last_hour() -> None:
    assert span("", "", "", NOW) == (NOW - dt.timedelta(hours=1), NOW, 15.0)
    assert bounds("2026-11-29T12:00:00+01:00", "", NOW) == (NOW - dt.timedelta(hours=1), NOW)


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(BAD_TIMES),
    st.datetimes(timezones=st.timezones()).map(dt.datetime.isoformat),
    st.floats().map(str),
)


@given(_TEXTS, _TEXTS, _TEXTS)
def test_any_request_is_answered_or_refused(since: str, until: str, step: str) -> None:
    try:
        found = span(since, until, step, NOW)
    except Refused as e:
        assert e.status == 400
        return
    seconds = (found.until - found.since).total_seconds()
    assert 0 < seconds <= LONGEST.total_seconds()
    assert seconds / found.step_s <= MOST_POINTS and found.step_s >= 5
