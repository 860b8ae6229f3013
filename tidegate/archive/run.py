"""A run: planned once, processed piece by piece, and resumable.

Example:
    run = Run.create(job, pieces, results)           # or Run.load(results)
    for progress in run.analyze(engine, size): ...   # skips the pieces that have results
    for totals in run.track(engine): ...
    run.caption(captioner, on_progress)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

import msgspec

from shared.recordings.store import Missing
from shared.runtime.errors import SettingError
from tidegate.archive import rows
from tidegate.archive.captions.chapters import CAPTIONS, CaptionTotals, Chapter, chapters
from tidegate.archive.frames import analysis
from tidegate.archive.frames.analysis import AnalysisTotals, results_key
from tidegate.archive.frames.decoding import Size
from tidegate.archive.frames.probe import ProbeResult
from tidegate.archive.frames.tracking import TrackingTask, TrackingTotals
from tidegate.archive.job import PLAN, Job, Piece, Plan
from tidegate.archive.sync_store import SyncStore


class Engine(Protocol):
    """Executes a run: `LocalEngine`, `RayEngine` or `LiveEngine`. All methods raise TidegateError."""

    @property
    def workers(self) -> int: ...
    def probe(self, job: Job, pieces: Sequence[Piece]) -> ProbeResult: ...
    def analyze(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[AnalysisTotals]: ...
    def track(self, job: Job, todo: Sequence[TrackingTask]) -> Iterator[TrackingTotals]: ...


class Progress(NamedTuple):
    """done: frames, or captioned stretches. per_s: since this process started. left_s: seconds at that rate."""

    done: int
    per_s: float
    left_s: float


class CaptionEngine(Protocol):
    """Captions chapters: `Captioner`. on_stretch: called after each stretch. Raises TidegateError."""

    def caption(self, todo: Sequence[Chapter], on_stretch: Callable[[], None]) -> None: ...


class Run:
    """See the module.

    frames, frames_left: to analyse, in total and still. pieces_left: pieces still to analyse. captions: stretches to
    caption, in total. to_caption: chapters without results.
    """

    def __init__(self, plan: Plan, results: SyncStore) -> None:
        self.job, self.pieces = plan.job, plan.pieces
        self._results = results
        self._totals: dict[str, AnalysisTotals] = {}
        # Captions read frames of their own: a job that only captions analyses no piece.
        to_analyze = self.pieces if self.job.analyzes_frames else ()
        finished = analysis.finished_keys(results) if to_analyze else set()
        self.todo = [piece for piece in to_analyze if piece.key not in finished]
        self._frames = {piece.key: max(1, self.job.frames(piece)) for piece in to_analyze}
        self.frames = sum(self._frames.values())
        self.frames_left = sum(self._frames[piece.key] for piece in self.todo)
        self.pieces_left = len(self.todo)
        self.chapters = chapters(self.job, self.pieces)
        captioned = analysis.finished_keys(results, CAPTIONS) if self.chapters else set()
        self.to_caption = [chapter for chapter in self.chapters if chapter.key not in captioned]
        self.captions = count_stretches(self.chapters)

    @classmethod
    def create(cls, job: Job, pieces: Sequence[Piece], results: SyncStore) -> Run:
        """Store the plan of a new run. Raises SettingError if `results` has another run, and StoreUnavailable."""
        check_unused(results)
        plan = Plan(job=job, pieces=tuple(pieces))
        results.put(PLAN, msgspec.json.encode(plan))
        return cls(plan, results)

    @classmethod
    def load(cls, results: SyncStore) -> Run:
        """Load the plan of a run. Raises SettingError if there is none, and StoreUnavailable."""
        try:
            plan = msgspec.json.decode(results.read(PLAN), type=Plan)
        except Missing as e:
            raise SettingError(
                f"no run was begun in {results.location}: give --resume the place that --output named"
            ) from e
        except msgspec.DecodeError as e:
            raise SettingError(f"{PLAN} in {results.location} can't be read ({e}): begin another run") from e
        # The results may have been moved since.
        job = msgspec.structs.replace(plan.job, output=results.location)
        return cls(msgspec.structs.replace(plan, job=job), results)

    def analyze(self, engine: Engine, size: Size) -> Iterator[Progress]:
        """Analyse the remaining pieces. Raises TidegateError."""
        began, finished = time.monotonic(), 0
        if not self.todo:
            return
        for totals in engine.analyze(self.job, self.todo, size):
            self._totals[totals.key] = totals
            finished += self._frames[totals.key]
            self.frames_left -= self._frames[totals.key]
            self.pieces_left -= 1
            elapsed = max(1e-6, time.monotonic() - began)
            done = self.frames - self.frames_left
            yield Progress(done, finished / elapsed, self.frames_left * elapsed / finished)

    def track(self, engine: Engine) -> Iterator[TrackingTotals]:
        """Track the objects of the remaining cameras, once all pieces are analysed. Raises TidegateError."""
        if not self.job.analyzes_frames:
            return
        groups = groupby(sorted(self.pieces, key=lambda p: (p.camera, p.file.start, p.begin)), lambda p: p.camera)
        tasks = [TrackingTask(camera=camera, pieces=tuple(p.key for p in group)) for camera, group in groups]
        existing = {one.key for one in self._results.list_objects("tracks")}
        yield from engine.track(
            self.job, [task for task in tasks if results_key("tracks", task.camera) not in existing]
        )

    def caption(self, engine: CaptionEngine, on_progress: Callable[[Progress], None]) -> None:
        """Caption the remaining chapters. Raises TidegateError."""
        began, finished, left = time.monotonic(), 0, count_stretches(self.to_caption)

        def on_stretch() -> None:
            nonlocal finished
            finished += 1
            elapsed = max(1e-6, time.monotonic() - began)
            done = self.captions - left + finished
            on_progress(Progress(done, finished / elapsed, (left - finished) * elapsed / finished))

        if self.to_caption:
            engine.caption(self.to_caption, on_stretch)

    def caption_totals(self) -> dict[str, CaptionTotals]:
        """Return the caption totals of each camera, once all chapters are captioned. Raises StoreUnavailable."""
        totals: dict[str, CaptionTotals] = {}
        for chapter in self.chapters:
            one = rows.read_metadata(self._results.read(results_key(CAPTIONS, chapter.key)), CaptionTotals)
            totals[one.camera] = totals.get(one.camera, CaptionTotals(camera=one.camera)).with_more(one)
        return totals

    def analysis_totals(self) -> Iterator[tuple[Piece, AnalysisTotals]]:
        """Yield all pieces with their totals, once all are analysed. Raises StoreUnavailable."""
        for piece in self.pieces:
            if not self.job.analyzes_frames:
                count = len(piece.cuts)
                yield piece, AnalysisTotals(key=piece.key, segments=count, failed=0, frames=0, labels={}, busy_s=0.0)
            else:
                yield piece, self._totals.get(piece.key) or analysis.read_analysis_totals(self._results, piece.key)


def count_stretches(chapters: Sequence[Chapter]) -> int:
    """Return how many stretches the chapters have."""
    return sum(len(chapter.stretches) for chapter in chapters)


def check_unused(results: SyncStore) -> None:
    """Raise SettingError if `results` has a run already. Raises StoreUnavailable."""
    try:
        results.read(PLAN)
    except Missing:
        return
    raise SettingError(f"there is a run in {results.location}: go on with it by --resume, or give another --output")


def totals_by_camera(pieces: Iterable[tuple[Piece, AnalysisTotals]]) -> dict[str, AnalysisTotals]:
    """Return the sum of each camera's totals. pieces: each with its own."""
    totals: dict[str, AnalysisTotals] = {}
    for piece, one in pieces:
        before = totals.get(piece.camera)
        totals[piece.camera] = _sum(before, one) if before else msgspec.structs.replace(one, key=piece.camera)
    return totals


def _sum(a: AnalysisTotals, b: AnalysisTotals) -> AnalysisTotals:
    return AnalysisTotals(
        key=a.key,
        segments=a.segments + b.segments,
        failed=a.failed + b.failed,
        frames=a.frames + b.frames,
        embedded=a.embedded + b.embedded,
        labels=dict(Counter(a.labels) + Counter(b.labels)),
        busy_s=a.busy_s + b.busy_s,
    )
