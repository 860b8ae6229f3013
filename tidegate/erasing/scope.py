"""The scope of an erasure: all of a camera, or its video within a time range. Pure.

    scope = Scope("lobby", since, until)
    scope.takes(span_of(stored))

A message goes as a whole: one that shows a moment of the range is erased with all that it shows.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import msgspec

from shared.bus.direct import Stored
from shared.contract import names, segment
from shared.contract.pictures import TIME
from shared.contract.questions.erasure import ErasureRequest
from shared.contract.reading.bounds import Instant, Seconds
from shared.contract.segment import rfc3339
from shared.runtime.errors import BadSegment, SettingError

# The first token of subjects whose last token is the camera.
_OF_CAMERAS = ("media", "main", "jobs", names.EVENT, names.PAST)


class Span(NamedTuple):
    """The time that a message is about, both ends included."""

    start: dt.datetime
    end: dt.datetime


class Scope(NamedTuple):
    """since, until: of the video; None: no bound."""

    camera: str
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it covers all that there is of the camera."""
        return self.since is None and self.until is None

    def takes(self, span: Span) -> bool:
        """Whether any moment of the span is in the range [since, until)."""
        return (self.until is None or span.start < self.until) and (self.since is None or span.end >= self.since)

    def request(self, *, dry_run: bool, despite_hold: bool) -> ErasureRequest:
        """Return the request to a service."""
        return ErasureRequest(
            camera=self.camera, since=self.since, until=self.until, dry_run=dry_run, despite_hold=despite_hold
        )

    def words(self) -> str:
        """Return the range in words: `all`, or `2026-11-24T13:00:00.000Z to …`."""
        if self.is_whole:
            return "all"
        since, until = (rfc3339(time) if time else "" for time in (self.since, self.until))
        return f"{since or 'its beginning'} to {until or 'now'}"


def scope(camera: str, since: dt.datetime | None, until: dt.datetime | None) -> Scope:
    """Return a scope. Raises SettingError for an impossible range, or a name that is no camera's."""
    if since and until and since >= until:
        raise SettingError("--from must be before --to: nothing is between them")
    return Scope(names.check_camera(camera), since, until)


def camera_of(subject: str) -> str:
    """Return the camera that a subject of a message names; empty if it names none."""
    tokens = subject.split(".")
    if tokens[0] == names.PICTURE:
        return tokens[2] if len(tokens) == 4 else ""
    return tokens[-1] if tokens[0] in _OF_CAMERAS and len(tokens) > 1 else ""


class _Timed(msgspec.Struct):
    """The times of an event or a job. An incident that lasts has no end."""

    start: Instant | None = None
    end: Instant | None = None
    time: Instant | None = None
    duration: Seconds | None = None


def span_of(stored: Stored) -> Span:
    """Return what a message is about: of a segment by its headers, of all else by its fields.

    A message that names no time is about the moment when it was stored.
    """
    if stored.subject.startswith(names.streams_of("")):
        try:
            head = segment.from_headers(stored.headers)
            return Span(head.start, head.start + dt.timedelta(seconds=head.duration))
        except BadSegment:
            return Span(stored.time, stored.time)
    times = _picture(stored) if stored.subject.startswith(f"{names.PICTURE}.") else _fields(stored.data)
    return Span(min(times), max(times)) if times else Span(stored.time, stored.time)


def _picture(stored: Stored) -> list[dt.datetime]:
    try:
        time = dt.datetime.fromisoformat(stored.headers.get(TIME, ""))
    except ValueError:
        return []
    return [time] if time.tzinfo else []


def _fields(data: bytes) -> list[dt.datetime]:
    try:
        read = msgspec.json.decode(data, type=_Timed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    last = None
    if read.start is not None and read.duration is not None:
        last = read.start + dt.timedelta(seconds=read.duration)
    return [time for time in (read.start, read.end, read.time, last) if time is not None]
