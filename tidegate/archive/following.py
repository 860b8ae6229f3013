"""Tracks and incidents out of what was seen, camera by camera: by what follows them live, and by any rules.

Nobody is asked to verify an incident, and nobody is alarmed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from services.analytics.camera import CameraAnalytics
from services.analytics.rulebook import NONE, without_actions
from services.analytics.statements import Outs
from shared.contract import rules as book
from shared.contract.events import Incident, Track, Tracks
from shared.contract.names import Token
from tidegate.archive import rows
from tidegate.archive.job import Job
from tidegate.archive.looking import key_of
from tidegate.archive.place import Place

# Longer than anything is waited for.
_FOR_EVER_S = 1e6


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """A camera, and the keys of its pieces by time."""

    camera: Token
    pieces: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.camera


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is of it. failed: segments that it failed on."""

    camera: Token
    tracks: int = 0
    incidents: int = 0
    failed: int = 0


class _Told:
    """The rows of a camera."""

    def __init__(self, run: str, camera: str) -> None:
        self._run, self._camera = run, camera
        self._open: dict[str, list[Track]] = {}
        self._incidents: dict[str, Incident] = {}
        self.tracks: list[dict[str, Any]] = []

    def take(self, outs: Outs) -> None:
        for what in (out.what for out in outs):
            if isinstance(what, Incident):
                self._incidents[what.incident] = what
            elif isinstance(what, Tracks):
                for track in what.tracks:
                    self._open.setdefault(track.id, []).append(track)
                    if track.state == "end":
                        self.tracks.append(rows.track(self._run, self._camera, self._open.pop(track.id)))

    def incidents(self) -> list[dict[str, Any]]:
        return [rows.incident(self._run, told) for told in self._incidents.values()]


def follow(results: Place, job: Job, course: Course) -> Followed:
    """Write a camera's tracks and incidents. Raises Unkept."""
    told = _Told(job.run, course.camera)
    rules = without_actions(book.decode(bytes(job.rules[course.camera]))) if course.camera in job.rules else NONE
    camera = CameraAnalytics(course.camera, replace(job.limits, settle_s=0.0), rules)
    at = 0.0
    for seq, row in enumerate(_segments(results, course), 1):
        event = rows.event(row)
        # As if each had been worked off at its end.
        at = max(at, event.start.timestamp() + event.duration)
        told.take(camera.read(seq, event, at))
    told.take(camera.due(at + _FOR_EVER_S))
    incidents, failed = told.incidents(), len(camera.failed)
    results.put(key_of("incidents", course.camera), rows.parquet(incidents, rows.INCIDENTS))
    found = Followed(camera=course.camera, tracks=len(told.tracks), incidents=len(incidents), failed=failed)
    results.put(key_of("tracks", course.camera), rows.parquet(told.tracks, rows.TRACKS, found))
    return found


def followed(results: Place, job: Job, camera: str) -> Followed:
    """What is known of a camera that is done. Raises Unkept and Missing."""
    if not job.looks_at_pictures:
        return Followed(camera=camera)
    return rows.about(results.read(key_of("tracks", camera)), Followed)


def _segments(results: Place, course: Course) -> Iterator[dict[str, Any]]:
    for key in course.pieces:
        yield from (row for row in rows.read(results.read(key_of("segments", key))) if row["frames"])
