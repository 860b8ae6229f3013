"""`/incidents` and `/timeline`, for users who may see the camera."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import nats.errors
from litestar import Response, delete, get, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter

from services.console.review import answers, evidence, filters
from services.console.review.answers import (
    IncidentCard,
    IncidentCards,
    IncidentDetails,
    IncidentTally,
    Timeline,
    TimelineRow,
)
from services.console.review.filters import Filters
from services.console.review.incident_report import newest
from services.console.review.index import Entry, Wanted
from services.console.review.state import Review
from services.console.review.timeline import count_by_camera
from services.console.video import responses
from services.console.video.pictures import Picture
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.needs import needs
from services.console.web.parameters import AnyRequest, User
from services.console.web.refused import Refused
from services.console.web.times import instant
from shared.contract import names
from shared.contract.events import Incident
from shared.runtime.errors import Refusal
from shared.video.decoding.work import LARGEST, SMALLEST

Page = NamedDependency[Review]

MOST = 500
MOST_PARTS = 1000
_DAY_S = 24 * 3600.0
_LONGEST_S = 31 * _DAY_S


def _text(description: str, max_length: int = 200) -> Any:
    return QueryParameter(max_length=max_length, description=description)


Names = Annotated[str, _text("names with commas; empty: all", 20_000)]
Severities = Annotated[str, _text(f"of {', '.join(filters.SEVERITIES)}, with commas; empty: all")]
Verdicts = Annotated[str, _text(f"of {', '.join(filters.VERDICTS)}, with commas; empty: all")]
State = Annotated[
    str, QueryParameter(name="state", max_length=20, description=f"one of {', '.join(filters.STATES)}; empty: all")
]
Time = Annotated[str, _text("with its zone, such as 2026-11-25T12:00:00Z; empty: no bound", 64)]
Called = Annotated[str, _text("its id in events, which cameras may share; empty: all", 256)]
Limit = Annotated[int, QueryParameter(ge=1, le=MOST, description="how many at most")]
Width = Annotated[int, QueryParameter(ge=SMALLEST, le=LARGEST, description="most pixels across")]
Download = Annotated[bool, QueryParameter(description="as a file to be saved")]
Parts = Annotated[int, QueryParameter(ge=1, le=MOST_PARTS, description="into how many the time is cut")]


def parse_filters(
    asker: User,
    page: Page,
    camera: Names = "",
    rule: Names = "",
    severity: Severities = "",
    verdict: Verdicts = "",
    lasts: State = "",
    incident: Called = "",
    alert: FromQuery[bool | None] = None,
    reviewed: FromQuery[bool | None] = None,
    since: Time = "",
    until: Time = "",
) -> Filters:
    """Return the request's filters. Raises Refused."""
    cameras = filters.names(camera)
    if cameras:
        existing = {*page.console.camera_ids, *page.index.cameras}
        for id in sorted(cameras):
            access.camera(asker, id, existing)
    if lasts not in ("", *filters.STATES):
        raise Refused(400, f"there is no state {lasts!r}: take one of {', '.join(filters.STATES)}")
    return Filters(
        cameras=cameras,
        rules=filters.names(rule),
        severities=filters.among(severity, filters.SEVERITIES, "severity"),
        verdicts=filters.among(verdict, filters.VERDICTS, "verdict"),
        state=lasts,
        incident=incident,
        alert=alert,
        reviewed=reviewed,
        since=instant(since, "since").timestamp() if since else filters.EVER.since,
        until=instant(until, "until").timestamp() if until else filters.EVER.until,
    )


_CRITERIA = {"criteria": Provide(parse_filters, sync_to_thread=False)}


@get("/incidents", opt=needs("viewer"), dependencies=_CRITERIA)
async def list_incidents(
    asker: User,
    page: Page,
    criteria: NamedDependency[Filters],
    limit: Limit = 50,
    cursor: Annotated[str, _text("`next` of the page before; empty: the first")] = "",
) -> IncidentCards:
    """Incidents of cameras that you may see, newest first."""
    found, more = page.index.page(_matcher(page, asker, criteria), after=filters.place(cursor), limit=limit)
    return IncidentCards(
        incidents=[_card(page, asker, entry) for entry in found],
        next=filters.cursor(more),
        complete=page.reader.is_complete,
    )


@get("/incidents/count", opt=needs("viewer"), dependencies=_CRITERIA)
async def count_incidents(asker: User, page: Page, criteria: NamedDependency[Filters]) -> IncidentTally:
    """How many incidents there are, and how many of them you have not reviewed."""
    found = list(page.index.all(_matcher(page, asker, criteria)))
    reviews = page.reviews
    unreviewed = sum(not reviews.has(asker.name, entry.id) for entry in found)
    return IncidentTally(count=len(found), unreviewed=unreviewed, complete=page.reader.is_complete)


@get("/incidents/{id:str}", opt=needs("viewer"))
async def get_incident(id: FromPath[str], asker: User, page: Page) -> IncidentDetails:
    """All of one incident, with the paths of its objects and the deferred parts of its time.

    id: of a list's entry, not of events.
    """
    entry = _entry(page, asker, id)
    about = _about(entry)
    client = page.console.links.viewer
    followed, deferred = await asyncio.gather(
        evidence.paths(client, about), evidence.deferred(client, evidence.stretch(about))
    )
    return answers.details(entry, _card(page, asker, entry), followed, deferred)


@get("/incidents/{id:str}/picture", opt=needs("viewer"), media_type="image/jpeg")
async def get_incident_picture(
    id: FromPath[str], asker: User, page: Page, width: Width = 640, download: Download = False
) -> Response[bytes]:
    """The frame that shows an incident, as JPEG: the stored picture of its alert, else out of video."""
    entry = _entry(page, asker, id)
    about = _about(entry)
    found = await _stored_picture(page, entry, width)
    found = found or await page.video.pictures.picture(about.camera, about.snapshot.time, width)
    return responses.picture(found, cache=responses.FOR_EVER, filename=_filename(about, "jpg") if download else "")


@get("/incidents/{id:str}/clip", opt=needs("viewer"), media_type="video/mp4", responses=responses.PARTS)
async def get_incident_clip(
    request: AnyRequest, id: FromPath[str], asker: User, page: Page, download: Download = False
) -> Response[Any]:
    """An incident's video as MP4, from some seconds before it until some seconds after.

    A long incident's clip has the first three minutes. `X-From` and `X-To` give its time. `Range` asks for a part.
    """
    about = _about(_entry(page, asker, id))
    found = await page.video.clips.clip(*evidence.stretch(about))
    return responses.clip(request, found, filename=_filename(about, "mp4") if download else "")


@put("/incidents/{id:str}/reviewed", opt=needs("viewer"), status_code=204)
async def mark_reviewed(id: FromPath[str], asker: User, page: Page) -> None:
    """Mark an incident as reviewed by you. Each user has their own marks."""
    entry = _reviewable(page, asker, id)
    if not page.reviews.has(asker.name, id):
        await page.console.audit(asker, "incident.review", camera=entry.camera, incident=entry.incident)
        await page.reviews.mark(asker.name, id)


@delete("/incidents/{id:str}/reviewed", opt=needs("viewer"), status_code=204)
async def unmark_reviewed(id: FromPath[str], asker: User, page: Page) -> None:
    """Remove your mark, to review an incident again."""
    entry = _reviewable(page, asker, id)
    if page.reviews.has(asker.name, id):
        await page.console.audit(asker, "incident.review-again", camera=entry.camera, incident=entry.incident)
        await page.reviews.clear(asker.name, id)


@get("/timeline", opt=needs("viewer"), dependencies=_CRITERIA)
async def get_timeline(
    asker: User,
    page: Page,
    criteria: NamedDependency[Filters],
    parts: Parts = 200,
    limit: Limit = MOST,
    cursor: Annotated[str, _text("`next` of the page before; empty: the first")] = "",
) -> Timeline:
    """Counts of incidents by camera and time, and when cameras were offline; of the last day if no time is given.

    Cameras without either are omitted, unless the request names them.
    """
    until = min(criteria.until, time.time() + _LONGEST_S) if criteria.until < filters.EVER.until else time.time()
    since = max(criteria.since, until - (_LONGEST_S if criteria.since > filters.EVER.since else _DAY_S))
    if since >= until:
        raise Refused(400, "until must be after since")
    reviews, statuses = page.reviews, page.statuses
    found = count_by_camera(
        page.index.all(_matcher(page, asker, criteria)),
        since,
        until,
        parts,
        lambda entry: reviews.has(asker.name, entry.id),
    )
    shown_ids = criteria.cameras or {*found, *page.console.camera_ids}
    rows = []
    for camera in sorted(id for id in shown_ids if asker.sees(id) and id > cursor):
        gaps = statuses.gaps(camera, since, until)
        if gaps or camera in found or camera in criteria.cameras:
            rows.append(TimelineRow(camera=camera, buckets=found.get(camera, []), gaps=list(map(answers.gap, gaps))))
        if len(rows) > limit:
            break
    return Timeline(
        since=answers.utc(since),
        until=answers.utc(until),
        parts=parts,
        rows=rows[:limit],
        next=rows[limit - 1].camera if len(rows) > limit else None,
        complete=page.reader.is_complete,
    )


def _matcher(page: Review, asker: Asker, criteria: Filters) -> Wanted:
    """Return a predicate: whether the user may see an incident and it matches the criteria."""
    reviews = page.reviews

    def wanted(entry: Entry) -> bool:
        return (
            asker.sees(entry.camera)
            and criteria.fits(entry)
            and (criteria.reviewed is None or reviews.has(asker.name, entry.id) == criteria.reviewed)
        )

    return wanted


def _entry(page: Review, asker: Asker, id: str) -> Entry:
    """Return an incident. Raises Refused, with the same words if there is none or the user may not see it."""
    entry = page.index.get(id)
    if entry is None or not asker.sees(entry.camera):
        raise Refused(404, f"there is no incident {id[:64]!r}: it may be older than what is kept")
    return entry


async def _stored_picture(page: Review, entry: Entry, width: int) -> Picture | None:
    if not entry.report.alert:
        return None
    try:
        return await page.video.pictures.of_alert(entry.camera, entry.incident, width)
    except (Refusal, TimeoutError, nats.errors.Error):
        return None


def _about(entry: Entry) -> Incident:
    about = newest(entry.report)
    assert about, "the index has only incidents with an event"
    return about


def _filename(about: Incident, ending: str) -> str:
    return f"{about.camera}-{names.safe_name(about.rule)[:64]}-{about.start:%Y%m%dT%H%M%SZ}.{ending}"


def _reviewable(page: Review, asker: Asker, id: str) -> Entry:
    """Return an incident that the user may mark as reviewed. Raises Refused for a program, which can't review."""
    if asker.via == "token":
        raise Refused(403, "a program reviews nothing: whoever is signed in on a page does")
    return _entry(page, asker, id)


def _card(page: Review, asker: Asker, entry: Entry) -> IncidentCard:
    reviewed = page.reviews.when(asker.name, entry.id)
    return answers.card(entry, reviewed, page.reader.video_from, page.recordings.periods.has)


ROUTES = [
    list_incidents,
    count_incidents,
    get_incident,
    get_incident_picture,
    get_incident_clip,
    mark_reviewed,
    unmark_reviewed,
    get_timeline,
]
