"""The API's answers about incidents. Pure."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable

import msgspec

from services.console.review.evidence import Deferred, stretch
from services.console.review.gaps import Gap
from services.console.review.incident_report import newest, verdict
from services.console.review.index import Entry
from services.console.review.timeline import TimelineBucket
from services.console.web.alike import alike
from shared.client.tracks import Followed
from shared.contract import names
from shared.contract.events import IncidentObject, PathPoint, SegmentRef, Severity, Snapshot, Verdict, Verification


class IncidentCard(msgspec.Struct, frozen=True, kw_only=True):
    """An incident in a list. id: in addresses; incident: in events, where cameras may share one.

    last: time of its latest event. end: absent while it lasts. labels: number of objects by label. verification,
    confidence, reason: by a model, if one verified it. alert: whether it became one. late: found only by a second pass.
    not_found: a false alarm, by a second pass. picture: the moment that shows it. video: whether video of that moment
    is still stored, as far as known. reviewed: when you reviewed it, if you have.
    """

    id: str
    incident: str
    camera: str
    rule: str
    condition: str
    severity: Severity
    start: dt.datetime
    end: dt.datetime | None
    last: dt.datetime
    zone: str | None
    line: str | None
    direction: str | None
    value: float | None
    labels: dict[str, int]
    verification: Verification
    confidence: float | None
    reason: str
    alert: bool
    late: bool
    not_found: bool
    picture: dt.datetime
    video: bool
    reviewed: dt.datetime | None


class IncidentCards(msgspec.Struct, frozen=True, kw_only=True):
    """A page of incidents, newest first. next: cursor of the next page; null: there is none. complete: whether the
    console has read all stored incidents since it started.
    """

    incidents: list[IncidentCard]
    next: str | None
    complete: bool


class IncidentTally(msgspec.Struct, frozen=True, kw_only=True):
    """The number of incidents, and of those that you have not reviewed."""

    count: int
    unreviewed: int
    complete: bool


class ObjectPath(msgspec.Struct, frozen=True, kw_only=True):
    """An object's position in each analysed frame."""

    id: str
    label: str
    points: list[PathPoint]


class IncidentDetails(msgspec.Struct, frozen=True, kw_only=True):
    """All of one incident. objects: as last seen in it. segments, snapshot: the evidence, in MEDIA. verdict: a model's,
    complete. since, until: the time that shows it. paths: of its objects in that time, in a picture of `width` by
    `height`. deferred: parts of that time that were analysed at a lower frame rate.
    """

    card: IncidentCard
    objects: list[IncidentObject]
    segments: list[SegmentRef]
    snapshot: Snapshot
    verdict: Verdict | None
    since: dt.datetime
    until: dt.datetime
    width: int | None
    height: int | None
    paths: list[ObjectPath]
    deferred: list[Deferred]


class CameraGap(msgspec.Struct, frozen=True, kw_only=True):
    """A time when a camera was offline. until: null while it lasts."""

    since: dt.datetime
    until: dt.datetime | None
    reason: str


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A camera's part of the timeline."""

    camera: str
    buckets: list[TimelineBucket]
    gaps: list[CameraGap]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """parts: their number between `since` and `until`. next: the camera after which the next page begins; null: there
    is none.
    """

    since: dt.datetime
    until: dt.datetime
    parts: int
    rows: list[TimelineRow]
    next: str | None
    complete: bool


def utc(time: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(time, dt.UTC)


def gap(found: Gap) -> CameraGap:
    return CameraGap(
        since=utc(found.since), until=None if found.until is None else utc(found.until), reason=found.reason
    )


def card(
    entry: Entry,
    reviewed: dt.datetime | None,
    video_from: int,
    recorded: Callable[[str, dt.datetime], bool],
) -> IncidentCard:
    """Return an incident's card. video_from: the first sequence that MEDIA stores. recorded: whether there may be a
    recording of a camera at a time.
    """
    about = newest(entry.report)
    verified = entry.report.verified
    assert about and verified
    return alike(
        IncidentCard,
        about,
        id=entry.id,
        last=about.time,
        labels=dict(Counter(o.label for o in about.objects)),
        verification=verified.verification,
        confidence=verified.confidence if verified.confidence >= 0 else None,
        reason=verified.reason,
        alert=entry.report.alert,
        late=entry.report.late,
        not_found=entry.report.not_found,
        picture=about.snapshot.time,
        video=(about.snapshot.stream == names.MEDIA and about.snapshot.seq >= video_from)
        or recorded(entry.camera, about.snapshot.time),
        reviewed=reviewed,
    )


def details(entry: Entry, of: IncidentCard, followed: list[Followed], deferred: list[Deferred]) -> IncidentDetails:
    about = newest(entry.report)
    assert about
    when = stretch(about)
    size = next((f.size for f in followed if f.size), None)
    return alike(
        IncidentDetails,
        about,
        card=of,
        verdict=verdict(entry.report),
        since=when.since,
        until=when.until,
        width=size[0] if size else None,
        height=size[1] if size else None,
        paths=[ObjectPath(id=f.last.id, label=f.last.label, points=f.path) for f in followed],
        deferred=deferred,
    )
