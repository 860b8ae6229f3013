"""A run: planned once, done piece by piece, and gone on with by whoever comes later.

run = Run.begun(job, pieces, results)           # or Run.found(results)
for state in run.work(engine, size): ...        # what is written is not done again
for followed in run.follow(engine): ...
run.caption(captioner, told)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

import msgspec

from shared.recordings.store import Missing
from shared.runtime.errors import SettingError
from tidegate.archive import looking, rows
from tidegate.archive.chapters import CAPTIONS, Captioned, Chapter, chapters
from tidegate.archive.following import Course, Followed
from tidegate.archive.job import PLAN, Job, Piece, Plan
from tidegate.archive.looking import Looked, key_of
from tidegate.archive.place import Place
from tidegate.archive.probe import Probed
from tidegate.archive.reading import Size


class Engine(Protocol):
    """Who does the work: `local.Local`, or `on_ray.OnRay`. Everything raises TidegateError."""

    @property
    def workers(self) -> int: ...
    def probe(self, job: Job, pieces: Sequence[Piece]) -> Probed: ...
    def looked(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[Looked]: ...
    def followed(self, job: Job, todo: Sequence[Course]) -> Iterator[Followed]: ...


class Progress(NamedTuple):
    """share: of all frames, from 0 to 1. frames_per_s: of this time. left_s: seconds, if it goes on like that."""

    share: float
    frames_per_s: float
    left_s: float


class Captioning(NamedTuple):
    """done: stretches that are captioned. per_s: of this time. left_s: seconds, if it goes on like that."""

    done: int
    per_s: float
    left_s: float


class Describer(Protocol):
    """Who captions: `captioning.Captioner`. told: hears of each stretch. Raises TidegateError."""

    def caption(self, todo: Sequence[Chapter], told: Callable[[], None]) -> None: ...


class Run:
    """See the module. results: where it writes.

    frames, frames_left: to look at, in all, and as it is now. pieces_left: the same of pieces. captions: stretches that
    are to be captioned; of each chapter that is left in to_caption, those too that were.
    """

    def __init__(self, plan: Plan, results: Place) -> None:
        self.job, self.pieces = plan.job, plan.pieces
        self._results = results
        self._looked: dict[str, Looked] = {}
        # Captions have pictures of their own: where nothing else is wanted, no piece is opened.
        to_look = self.pieces if self.job.looks_at_pictures else ()
        done = looking.done(results) if to_look else set()
        self.todo = [piece for piece in to_look if piece.key not in done]
        self._frames = {piece.key: max(1, self.job.frames(piece)) for piece in to_look}
        self.frames = sum(self._frames.values())
        self.frames_left = sum(self._frames[piece.key] for piece in self.todo)
        self.pieces_left = len(self.todo)
        self.chapters = chapters(self.job, self.pieces)
        written = looking.done(results, CAPTIONS) if self.chapters else set()
        self.to_caption = [chapter for chapter in self.chapters if chapter.key not in written]
        self.captions = stretches(self.chapters)

    @classmethod
    def begun(cls, job: Job, pieces: Sequence[Piece], results: Place) -> Run:
        """Raises SettingError where another run is there, and Unkept."""
        check_free(results)
        plan = Plan(job=job, pieces=tuple(pieces))
        results.put(PLAN, msgspec.json.encode(plan))
        return cls(plan, results)

    @classmethod
    def found(cls, results: Place) -> Run:
        """One that was begun. Raises SettingError where none was, and Unkept."""
        try:
            plan = msgspec.json.decode(results.read(PLAN), type=Plan)
        except Missing as e:
            raise SettingError(
                f"no run was begun in {results.where}: give --resume the place that --output named"
            ) from e
        except msgspec.DecodeError as e:
            raise SettingError(f"{PLAN} in {results.where} can't be read ({e}): begin another run") from e
        # Where it lies now: it may have been moved.
        return cls(msgspec.structs.replace(plan, job=msgspec.structs.replace(plan.job, output=results.where)), results)

    def work(self, engine: Engine, size: Size) -> Iterator[Progress]:
        """Look at what is left. Raises TidegateError."""
        began, here = time.monotonic(), 0
        if not self.todo:
            return
        for one in engine.looked(self.job, self.todo, size):
            self._looked[one.key] = one
            here += self._frames[one.key]
            self.frames_left -= self._frames[one.key]
            self.pieces_left -= 1
            passed = max(1e-6, time.monotonic() - began)
            yield Progress(1 - self.frames_left / self.frames, here / passed, self.frames_left * passed / here)

    def follow(self, engine: Engine) -> Iterator[Followed]:
        """Follow what was seen, once all was looked at. Raises TidegateError."""
        if not self.job.looks_at_pictures:
            return
        rows = groupby(sorted(self.pieces, key=lambda p: (p.camera, p.file.start, p.begin)), lambda p: p.camera)
        courses = [Course(camera=camera, pieces=tuple(p.key for p in row)) for camera, row in rows]
        there = {held.key for held in self._results.held("tracks")}
        yield from engine.followed(self.job, [c for c in courses if key_of("tracks", c.camera) not in there])

    def caption(self, describer: Describer, told: Callable[[Captioning], None]) -> None:
        """Caption what is left. Raises TidegateError."""
        began, here, left = time.monotonic(), 0, stretches(self.to_caption)

        def heard() -> None:
            nonlocal here
            here += 1
            passed = max(1e-6, time.monotonic() - began)
            told(Captioning(self.captions - left + here, here / passed, (left - here) * passed / here))

        if self.to_caption:
            describer.caption(self.to_caption, heard)

    def captioned(self) -> dict[str, Captioned]:
        """The sums of each camera, once all is captioned. Raises Unkept."""
        sums: dict[str, Captioned] = {}
        for chapter in self.chapters:
            one = rows.about(self._results.read(key_of(CAPTIONS, chapter.key)), Captioned)
            sums[one.camera] = sums.get(one.camera, Captioned(camera=one.camera)).with_more(one)
        return sums

    def looked(self) -> Iterator[tuple[Piece, Looked]]:
        """Every piece that is done, and what is known of it. Raises Unkept."""
        for piece in self.pieces:
            if not self.job.looks_at_pictures:
                yield piece, Looked(key=piece.key, segments=len(piece.cuts), failed=0, frames=0, labels={}, busy_s=0.0)
            else:
                yield piece, self._looked.get(piece.key) or looking.looked(self._results, piece.key)


def stretches(of: Sequence[Chapter]) -> int:
    """How many there are of them."""
    return sum(len(chapter.stretches) for chapter in of)


def check_free(results: Place) -> None:
    """Raises SettingError where there is a run already, and Unkept."""
    try:
        results.read(PLAN)
    except Missing:
        return
    raise SettingError(f"there is a run in {results.where}: go on with it by --resume, or give another --output")


def totals(found: Sequence[tuple[Piece, Looked]]) -> dict[str, Looked]:
    """The sums of each camera."""
    sums: dict[str, Looked] = {}
    for piece, one in found:
        before = sums.get(piece.camera)
        sums[piece.camera] = _added(before, one) if before else msgspec.structs.replace(one, key=piece.camera)
    return sums


def _added(a: Looked, b: Looked) -> Looked:
    return Looked(
        key=a.key,
        segments=a.segments + b.segments,
        failed=a.failed + b.failed,
        frames=a.frames + b.frames,
        embedded=a.embedded + b.embedded,
        labels=dict(Counter(a.labels) + Counter(b.labels)),
        busy_s=a.busy_s + b.busy_s,
    )
