"""Which stretches of what was recorded are captioned: those of live captions, some of them a chapter. Pure.

for chapter in chapters(job, pieces): ...       # each is one object of the results
reels(pieces)["lobby"].between(start, end)      # what shows it
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from services.vlm.stretches import CaptionPlan, CaptionStretch, over
from shared.contract.names import Token
from shared.recordings.records import Recorded
from tidegate.archive.job import Job, Piece

# Who is killed loses those that were captioned of a chapter that is not whole.
MOST = 32
# Where their rows are, below the results.
CAPTIONS = "captions"


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """Stretches of a camera that follow each other, each with some video."""

    camera: Token
    stretches: tuple[CaptionStretch, ...]

    @property
    def key(self) -> str:
        """Of its results, without what they are."""
        return f"{self.camera}/{self.stretches[0].start:%Y-%m-%d/%H/%H%M%S}"


class Captioned(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of chapters of a camera that are done. captions: their stretches that have one. failed:
    those that could have none.
    """

    camera: Token
    captions: int = 0
    failed: int = 0

    def with_more(self, more: Captioned) -> Captioned:
        """Both."""
        return Captioned(camera=self.camera, captions=self.captions + more.captions, failed=self.failed + more.failed)


class Shot(NamedTuple):
    """A group of pictures: bytes begin:end of a file, and what they show."""

    file: Recorded
    begin: int
    end: int
    start: dt.datetime
    until: dt.datetime


class Reel:
    """A camera's files."""

    def __init__(self, files: Iterable[Recorded]) -> None:
        self._files = sorted({file.key: file for file in files}.values(), key=lambda file: file.start)
        self._starts = [file.start for file in self._files]

    def between(self, since: dt.datetime, until: dt.datetime) -> list[Shot]:
        """What shows some of [since, until), in order."""
        return [Shot(file, *group) for file in self._within(since, until) for group in file.between(since, until)]

    def has(self, since: dt.datetime, until: dt.datetime) -> bool:
        """Whether anything does."""
        return bool(self._within(since, until))

    def _within(self, since: dt.datetime, until: dt.datetime) -> list[Recorded]:
        past = first = bisect_left(self._starts, until)
        while first and self._files[first - 1].end > since:
            first -= 1
        return self._files[first:past]


def reels(pieces: Iterable[Piece]) -> dict[str, Reel]:
    """By camera, the files that a run looks at."""
    files: dict[str, list[Recorded]] = {}
    for piece in pieces:
        files.setdefault(piece.camera, []).append(piece.file)
    return {camera: Reel(row) for camera, row in files.items()}


def chapters(job: Job, pieces: Sequence[Piece]) -> list[Chapter]:
    """All that is captioned, camera by camera, by time."""
    if not job.caption:
        return []
    found = reels(pieces)
    rows = {camera: list(_stretches(job, plan, camera, found[camera])) for camera, plan in job.caption.plans.items()}
    return [
        Chapter(camera=camera, stretches=tuple(row[n : n + MOST]))
        for camera, row in rows.items()
        for n in range(0, len(row), MOST)
    ]


def _stretches(job: Job, plan: CaptionPlan, camera: str, reel: Reel) -> Iterator[CaptionStretch]:
    """Those with video, none of it before or after the job's time."""
    since, until = job.since.astimezone(dt.UTC), job.until.astimezone(dt.UTC)
    for start, end in over(camera, since, until, plan):
        stretch = CaptionStretch(max(start, since), min(end, until))
        if reel.has(*stretch):
            yield stretch
