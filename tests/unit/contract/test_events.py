"""Events as text: their schema, their headers, their documents."""

from __future__ import annotations

import datetime as dt
import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import asyncapi, events
from shared.contract.events import CameraStatus, DetectedObject, Detections, Frame, SegmentRef, Timing
from tests.support import schemas
from tests.support.paths import ROOT

REFERENCE = ROOT / "docs/reference"

times = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
)
unit = st.floats(0, 1)
objects = st.builds(DetectedObject, label=st.text(max_size=20), score=unit, box=st.tuples(unit, unit, unit, unit))
milliseconds = st.floats(0, 1e6)
detections = st.builds(
    Detections,
    camera=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    segment=st.builds(
        SegmentRef,
        stream=st.just("MEDIA"),
        seq=st.integers(1, 2**53),
        epoch=st.text(min_size=1, max_size=256),
        n=st.integers(0, 2**31),
    ),
    start=times,
    duration=st.floats(0, 60),
    model=st.text(max_size=20),
    frames=st.lists(st.builds(Frame, time=times, objects=st.lists(objects, max_size=3)), max_size=3),
    timing=st.builds(Timing, queued_ms=milliseconds, decode_ms=milliseconds, infer_ms=milliseconds),
)


@given(detections)
def test_detections_round_trip_and_match_their_schema(event: Detections) -> None:
    text = events.encode(event)
    schemas.of_events().validate(json.loads(text))
    assert msgspec.json.decode(text, type=Detections) == event


def test_times_are_utc_with_milliseconds() -> None:
    noon = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    event = CameraStatus(camera="lobby", time=noon, state="offline", reason="stopped", url="rtsp://x", ingest="i")
    assert json.loads(events.encode(event))["time"] == "2026-11-24T11:00:00.000Z"
    assert "epoch" not in json.loads(events.encode(event))
    headers = events.headers(event, id="a/b/c", source="/tidegate/ingest")
    assert headers["ce-type"] == "tidegate.cameras.v1"
    assert headers["ce-id"] == headers["Nats-Msg-Id"] == "a/b/c"


def test_the_schemas_match_the_structs() -> None:
    """After a change of events: `make reference`."""
    assert json.loads((REFERENCE / "events.schema.json").read_text()) == events.json_schema()
    assert json.loads((REFERENCE / "asyncapi.json").read_text()) == asyncapi.document()
