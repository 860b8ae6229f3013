"""The stretches of recordings to caption, split as live captions are, in chapters of several stretches. Pure.

Example:
    for chapter in chapters(job, pieces): ...                 # each is one object of the results
    files_by_camera(pieces)["lobby"].between(start, end)      # the video of a stretch
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from services.vlm.planning.stretches import CaptionPlan, CaptionStretch, over
from shared.contract.names import Token
from shared.recordings.records import Recorded
from tidegate.archive.job import Job, Piece

# Maximum stretches of a chapter: a run that dies loses the captions of its unfinished chapters.
MOST = 32
# The folder of caption rows in the results.
CAPTIONS = "captions"


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive stretches of a camera, each with some video."""

    camera: Token
    stretches: tuple[CaptionStretch, ...]

    @property
    def key(self) -> str:
        """The key of its results, without folder and suffix."""
        return f"{self.camera}/{self.stretches[0].start:%Y-%m-%d/%H/%H%M%S}"


class CaptionTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a camera's finished chapters. captions: stretches with a caption. failed: stretches without one."""

    camera: Token
    captions: int = 0
    failed: int = 0

    def with_more(self, more: CaptionTotals) -> CaptionTotals:
        """Return the sum."""
        return CaptionTotals(
            camera=self.camera, captions=self.captions + more.captions, failed=self.failed + more.failed
        )


class GopRange(NamedTuple):
    """A group of pictures: bytes begin:end of a file, and their time."""

    file: Recorded
    begin: int
    end: int
    start: dt.datetime
    until: dt.datetime


class CameraFiles:
    """The recorded files of a camera, searchable by time."""

    def __init__(self, files: Iterable[Recorded]) -> None:
        self._files = sorted({file.key: file for file in files}.values(), key=lambda file: file.start)
        self._starts = [file.start for file in self._files]

    def between(self, since: dt.datetime, until: dt.datetime) -> list[GopRange]:
        """Return the groups of pictures that overlap [since, until), in order."""
        return [GopRange(file, *group) for file in self._within(since, until) for group in file.between(since, until)]

    def has(self, since: dt.datetime, until: dt.datetime) -> bool:
        """Whether any file overlaps [since, until)."""
        return bool(self._within(since, until))

    def _within(self, since: dt.datetime, until: dt.datetime) -> list[Recorded]:
        past = first = bisect_left(self._starts, until)
        while first and self._files[first - 1].end > since:
            first -= 1
        return self._files[first:past]


def files_by_camera(pieces: Iterable[Piece]) -> dict[str, CameraFiles]:
    """Return the files of a run by camera."""
    files: dict[str, list[Recorded]] = {}
    for piece in pieces:
        files.setdefault(piece.camera, []).append(piece.file)
    return {camera: CameraFiles(its) for camera, its in files.items()}


def chapters(job: Job, pieces: Sequence[Piece]) -> list[Chapter]:
    """Return all chapters of a run, camera by camera, by time."""
    if not job.caption:
        return []
    files = files_by_camera(pieces)
    stretches = {
        camera: list(_stretches(job, plan, camera, files[camera])) for camera, plan in job.caption.plans.items()
    }
    return [
        Chapter(camera=camera, stretches=tuple(its[n : n + MOST]))
        for camera, its in stretches.items()
        for n in range(0, len(its), MOST)
    ]


def _stretches(job: Job, plan: CaptionPlan, camera: str, files: CameraFiles) -> Iterator[CaptionStretch]:
    """Yield the stretches with video, clipped to the job's time."""
    since, until = job.since.astimezone(dt.UTC), job.until.astimezone(dt.UTC)
    for start, end in over(camera, since, until, plan):
        stretch = CaptionStretch(max(start, since), min(end, until))
        if files.has(*stretch):
            yield stretch
