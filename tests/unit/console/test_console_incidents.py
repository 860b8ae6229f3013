"""The events of incidents: merged, bounded and paged; gaps and counts by time."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.review import filters
from services.console.review.answers import card
from services.console.review.filters import Filters
from services.console.review.gaps import MOST_OF_A_CAMERA, Gap, Statuses
from services.console.review.incident_report import IncidentReport, id_of, merge, report_of
from services.console.review.index import Index, Place
from services.console.review.timeline import count_by_camera
from services.console.web.refused import Refused
from shared.contract.events import Alert, CameraStatus, Incident, Verdict
from tests.support.worlds.incidents import ago, incident, verdict

VERIFICATIONS = st.sampled_from(["none", "pending", "confirmed", "rejected", "uncertain", "unverified"])


def alert(event: Incident) -> Alert:
    return Alert(**{field: getattr(event, field) for field in event.__struct_fields__})


def assembled(*event_sequences: Incident | Verdict) -> Any:
    index = Index()
    for event in event_sequences:
        index.record(event)
    (entry,) = index.all(Filters().fits)
    return card(entry, None, 0, lambda camera, time: False)


@st.composite
def event_sequences(draw: st.DrawFn) -> Incident | Verdict:
    """An event or a verdict of one incident."""
    if draw(st.booleans()):
        return verdict(draw(st.sampled_from(["confirmed", "rejected", "uncertain"])), reason=draw(st.text(max_size=3)))
    time = ago(60 - draw(st.integers(0, 3)))
    state = draw(st.sampled_from(["start", "update", "end"]))
    event = incident(
        start=ago(60),
        time=time,
        state=state,
        end=time if state == "end" else None,
        verification=draw(VERIFICATIONS),
        reason=draw(st.text(max_size=3)),
        confidence=draw(st.none() | st.floats(0, 1)),
        value=draw(st.none() | st.floats(0, 5)),
        late=draw(st.sampled_from([None, True])),
        not_found=draw(st.sampled_from([None, True])),
    )
    return alert(event) if draw(st.booleans()) else event


@given(st.lists(event_sequences(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(events: list[Incident | Verdict], chance: random.Random) -> None:
    def all_of(order: list[Incident | Verdict]) -> IncidentReport:
        found = IncidentReport()
        for event in order:
            found = merge(found, report_of(event))
        return found

    shuffled = [*events, *chance.choices(events, k=3)]
    chance.shuffle(shuffled)
    half = len(shuffled) // 2
    assert all_of(events) == all_of(shuffled) == merge(all_of(shuffled[half:]), all_of(shuffled[:half]))


def test_an_incident_from_its_start_to_its_verdict() -> None:
    start, end = ago(60), ago(40)
    began = incident(start=start, verification="pending")
    found = assembled(began)
    assert (found.end, found.verification, found.alert, found.labels) == (None, "pending", False, {"person": 1})
    ended = msgspec.structs.replace(began, state="end", end=end, time=end, value=12.0)
    found = assembled(ended, began)
    assert (found.end, found.value, found.verification) == (end, 12.0, "pending")
    overdue = msgspec.structs.replace(
        ended, state="update", verification="unverified", reason="no verdict within 600 s"
    )
    found = assembled(alert(overdue), ended, overdue)
    assert (found.end, found.verification, found.alert, found.confidence) == (end, "unverified", True, None)
    found = assembled(ended, overdue, verdict("rejected", start=start))
    assert (found.verification, found.confidence, found.reason) == ("rejected", 0.8, "a bench, and nobody on it")
    assert assembled(verdict("rejected", start=start), began).verification == "rejected", "it was heard first"


def test_a_second_pass_marks_late_and_not_found() -> None:
    began = incident()
    assert (assembled(began).late, assembled(began).not_found) == (False, False)
    missing = msgspec.structs.replace(began, state="update", not_found=True)
    assert assembled(missing, began).not_found
    assert assembled(msgspec.structs.replace(began, late=True)).late


def test_cameras_may_share_an_incidents_id() -> None:
    index = Index()
    index.record(incident("crowd.1", "lobby"))
    index.record(incident("crowd.1", "gate", verification="pending"))
    index.record(verdict("confirmed", "crowd.1", "gate"))
    found = {entry.camera: entry.verification for entry in index.all(Filters().fits)}
    assert found == {"lobby": "none", "gate": "confirmed"}


def test_the_oldest_incidents_are_dropped_first() -> None:
    index = Index(most=3)
    for n in (5, 1, 4, 2, 3):
        index.record(incident(f"i.{n}", start=ago(100 - n)))
    assert [entry.incident for entry in index.all(Filters().fits)] == ["i.5", "i.4", "i.3"]
    assert index.is_full and index.cameras == {"lobby": 3}
    small = Index(most_bytes=10_000)
    for n in range(50):
        small.record(incident(f"i.{n}", start=ago(100 - n), reason="x" * 1000))
    assert 1 <= len(small) <= 10 and small.get(id_of("lobby", "i.49"))


def test_incidents_that_expired_from_events_are_forgotten() -> None:
    index = Index()
    index.record(incident("old", start=ago(1000)))
    index.record(incident("long", start=ago(1000), time=ago(10), state="update"))
    index.forget(ago(500).timestamp())
    assert [entry.incident for entry in index.all(Filters().fits)] == ["long"]
    for n in range(3000):
        index.record(verdict("confirmed", f"of no incident {n}"))
    assert len(index) == 1


def test_thousands_of_objects_take_little_memory() -> None:
    many = incident(objects=incident().objects * 10_000, segments=incident().segments * 10_000)
    index = Index(most_bytes=100_000)
    index.record(many)
    assert len(index) == 1


# ---- pages


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99)), max_size=40, unique=True),
    st.lists(st.tuples(st.integers(0, 5), st.integers(100, 199)), max_size=20, unique=True),
    st.integers(1, 7),
)
def test_a_page_continues_after_the_previous_one(
    first: list[tuple[int, int]], coming: list[tuple[int, int]], limit: int
) -> None:
    """Whatever comes meanwhile: of those that were there, each is given once, the newest first."""
    index = Index()
    for second, n in first:
        index.record(incident(f"i.{second}.{n}", start=ago(second)))
    there = {id_of("lobby", f"i.{second}.{n}") for second, n in first}
    found: list[Place] = []
    after = None
    for _ in range(100):
        entries, more = index.page(lambda _: True, after=after, limit=limit)
        found += [entry.place for entry in entries]
        assert len(entries) <= limit
        for second, n in coming[:2]:
            index.record(incident(f"i.{second}.{n}", start=ago(second)))
        coming = coming[2:]
        if more is None:
            break
        after = filters.place(filters.cursor(more) or "")
        assert after == more
    assert more is None and found == sorted(found, reverse=True) and len(found) == len(set(found))
    assert there <= {place.id for place in found}


@pytest.mark.parametrize("text", ["1", "1-x", "nan-" + "0" * 32, "1e99-" + "0" * 32, "٣-" + "0" * 32, "1-" + "0" * 33])
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="this cursor is none"):
        filters.place(text)


# ---- gaps, and counts by time


def status(seconds_ago: float, state: Any, reason: str = "no answer", camera: str = "lobby") -> CameraStatus:
    return CameraStatus(camera=camera, time=ago(seconds_ago), state=state, reason=reason, url="rtsp://x", ingest="i")


def gaps(statuses: Statuses, since: float, until: float) -> list[tuple[float, float | None, str]]:
    found: list[Gap] = statuses.gaps("lobby", ago(since).timestamp(), ago(until).timestamp())
    now = ago(0).timestamp()
    return [(now - gap.since, None if gap.until is None else now - gap.until, gap.reason) for gap in found]


@given(st.permutations([(90, "offline"), (80, "offline", "refused"), (70, "online"), (20, "offline")]))
def test_a_camera_was_offline_until_it_was_online(order: list[tuple[Any, ...]]) -> None:
    seen = Statuses()
    for event_sequences in [*order, *order]:
        seen.record(status(*event_sequences))
    assert gaps(seen, 100, 0) == [(90, 70, "refused"), (20, None, "no answer")]
    assert gaps(seen, 85, 75) == [(90, 70, "refused")]
    assert gaps(seen, 70, 20) == []
    assert gaps(seen, 10, 0) == [(20, None, "no answer")]
    seen.forget(ago(75).timestamp())
    assert gaps(seen, 100, 0) == [(20, None, "no answer")]
    seen.forget(ago(0).timestamp())
    assert gaps(seen, 100, 0) == [(20, None, "no answer")], "that still holds"


def test_an_unstable_camera_takes_no_more_memory() -> None:
    seen = Statuses()
    for n in range(MOST_OF_A_CAMERA + 500):
        seen.record(status(5000 - n, "offline" if n % 2 else "online"))
    assert len(gaps(seen, 9999, 0)) == MOST_OF_A_CAMERA // 2


@given(st.lists(st.tuples(st.integers(-5, 65), st.sampled_from(["info", "warning", "critical"])), max_size=30))
def test_each_incident_is_in_one_time_bucket(began: list[tuple[int, Any]]) -> None:
    index = Index()
    for n, (second, severity) in enumerate(began):
        index.record(incident(f"i.{n}", start=ago(60) + dt.timedelta(seconds=second), severity=severity))
    since, until = ago(60).timestamp(), ago(0).timestamp()
    found = count_by_camera(index.all(Filters().fits), since, until, 6, lambda entry: entry.severity == "info")
    inside = [(second // 10, severity) for second, severity in began if 0 <= second < 60]
    assert [(b.n, b.count, b.unreviewed) for b in found.get("lobby", [])] == [
        (n, len(those), sum(s != "info" for s in those))
        for n in range(6)
        if (those := [severity for part, severity in inside if part == n])
    ]
    for bucket in found.get("lobby", []):
        order = ["info", "warning", "critical"]
        assert bucket.severity == max((s for part, s in inside if part == bucket.n), key=order.index)


def test_changing_cameras_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.console.review.gaps.MOST", 10)
    statuses = Statuses()
    for n in range(50):
        statuses.record(msgspec.structs.replace(status(90, "offline"), camera=f"fake-{n}"))
        assert len(statuses.cameras()) <= 10
    assert "fake-49" in statuses.cameras() and "fake-0" not in statuses.cameras()


def test_a_long_verdict_takes_little_memory() -> None:
    index = Index(most_bytes=1_000_000)
    for n in range(100):
        index.record(incident(f"i.{n}"))
    for n in range(100):
        index.record(verdict("uncertain", f"i.{n}", reason="\x01" * 8192))
    assert len(index) == 100
