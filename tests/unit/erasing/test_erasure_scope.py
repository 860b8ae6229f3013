"""What an erasure covers: cameras by subject, and times by what a message shows."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.direct import Stored
from shared.contract import names
from shared.contract.segment import rfc3339
from shared.runtime.errors import SettingError
from tests.support.worlds.erasing_world import segment_headers
from tidegate.erasing.scope import Scope, Span, camera_of, scope, span_of

NOW = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)
camera_ids = st.from_regex(r"\A[A-Za-z0-9_-]{1,20}\Z")
seconds = st.integers(-10_000, 10_000)


def at(second: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=second)


def stored(subject: str, data: bytes = b"", headers: dict[str, str] | None = None) -> Stored:
    return Stored(1, subject, NOW, headers or {}, data)


@given(camera_ids)
def test_the_camera_of_every_kind_of_subject(camera: str) -> None:
    for subject in (
        *names.streams_of(camera),
        names.event("detections", camera),
        names.event(names.revised("embeddings"), camera),
        names.event(names.past("detections"), camera),
        names.job("verify", camera),
        names.backfill("cv", camera),
        names.picture(camera, "crowd.1.2"),
    ):
        assert camera_of(subject) == camera


@pytest.mark.parametrize("subject", ["", "dlq.cv", "media", "pictures.alerts.lobby", "usage.cv", "$KV.cameras.lobby"])
def test_other_subjects_name_no_camera(subject: str) -> None:
    assert camera_of(subject) == ""


@given(seconds, seconds, seconds, st.integers(0, 1000))
def test_a_message_is_taken_if_it_shows_any_moment_of_the_range(since: int, until: int, start: int, lasts: int) -> None:
    span = Span(at(start), at(start + lasts))
    shown = any(since <= start + n < until for n in range(lasts + 1))
    assert Scope("lobby", at(since), at(until)).takes(span) == (shown and since < until)
    assert Scope("lobby").takes(span)


def test_a_segment_is_about_what_it_shows() -> None:
    head = segment_headers("lobby", 5) | {"Start": rfc3339(at(5)), "Duration": "2.000"}
    for subject in names.streams_of("lobby"):
        assert span_of(stored(subject, headers=head)) == Span(at(5), at(7))
    assert span_of(stored("media.lobby")) == Span(NOW, NOW)


@pytest.mark.parametrize(
    ("fields", "span"),
    [
        ({"start": rfc3339(at(1)), "duration": 3.0}, Span(at(1), at(4))),
        ({"start": rfc3339(at(1)), "end": rfc3339(at(9))}, Span(at(1), at(9))),
        ({"start": rfc3339(at(1)), "time": rfc3339(at(5))}, Span(at(1), at(5))),
        ({"time": rfc3339(at(2))}, Span(at(2), at(2))),
        ({"start": "noon"}, Span(NOW, NOW)),
        ({}, Span(NOW, NOW)),
    ],
)
def test_an_event_is_about_all_times_that_it_names(fields: dict[str, object], span: Span) -> None:
    assert span_of(stored("events.detections.lobby", msgspec.json.encode(fields))) == span


@given(st.binary(max_size=200))
def test_any_content_has_a_span(data: bytes) -> None:
    for subject in ("media.lobby", "main.lobby", "events.detections.lobby", "pictures.alerts.lobby.1"):
        span = span_of(stored(subject, data, {"Picture-Time": "noon", "Start": "noon"}))
        assert span.start <= span.end


def test_an_impossible_range_and_a_name_that_is_none_are_refused() -> None:
    with pytest.raises(SettingError, match="--from must be before --to"):
        scope("lobby", at(2), at(1))
    for camera in ("*", ">", "lobby.*", "", "a b"):
        with pytest.raises(SettingError, match="camera id"):
            scope(camera, None, None)
