"""Execution of a run by processes of this machine, each with a model of its own.

    for totals in LocalEngine(workers=4, threads=1).analyze(job, todo, size): ...

If a process dies, another one retries its piece. The error names a piece that kills every process that tries it.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from shared.runtime.errors import TidegateError
from tidegate.archive.engines.child import Child, ChildExited
from tidegate.archive.frames.analysis import AnalysisTotals, Analyzer, write_result
from tidegate.archive.frames.decoding import Size, read_piece
from tidegate.archive.frames.probe import ProbeResult, measure
from tidegate.archive.frames.tracking import TrackingTask, TrackingTotals, track_camera
from tidegate.archive.job import Job, Piece
from tidegate.archive.sync_store import SyncStore, open_recordings

# Maximum attempts of a piece whose workers die.
TRIES = 3


class _Sample(NamedTuple):
    """The pieces to measure a model with."""

    pieces: Sequence[Piece]
    key: str = "what was to be measured"


class _Task(Protocol):
    @property
    def key(self) -> str: ...


class LocalEngine(NamedTuple):
    """See the module. workers: processes. threads: of the model in each."""

    workers: int
    threads: int

    def probe(self, job: Job, pieces: Sequence[Piece]) -> ProbeResult:
        """Measure the models in a child process, so that this process stays small. Raises TidegateError."""
        (result,) = _map_over_workers(_probe, (job, self.threads), [_Sample(pieces)], 1)
        return result  # type: ignore[no-any-return]

    def analyze(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[AnalysisTotals]:
        """Yield the totals of each piece as it finishes. Raises TidegateError."""
        return _map_over_workers(_analyze, (job, self.threads), todo, self.workers)

    def track(self, job: Job, todo: Sequence[TrackingTask]) -> Iterator[TrackingTotals]:
        """Yield the totals of each camera as it finishes. Raises TidegateError."""
        return _map_over_workers(_track, (job,), todo, self.workers)


def _map_over_workers(
    work: Callable[..., None], arguments: tuple[Any, ...], todo: Sequence[_Task], workers: int
) -> Iterator[Any]:
    left, tries = deque(todo), Counter[str]()
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(_Worker(work, arguments)) for _ in range(min(workers, len(todo)))]
        for worker in pool:
            worker.assign(left.popleft())
        while busy := {worker.child.pipe: worker for worker in pool if worker.task}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                task = worker.task
                assert task
                try:
                    yield worker.child.receive()
                except ChildExited:
                    tries[task.key] += 1
                    if tries[task.key] == TRIES:
                        raise TidegateError(
                            f"{task.key} has killed {TRIES} workers: is there memory enough? Give fewer --workers, or "
                            "leave its time out"
                        ) from None
                    left.appendleft(task)
                    worker.restart()
                worker.assign(left.popleft() if left else None)


class _Worker:
    """A child process, and its task in progress."""

    def __init__(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.task: _Task | None = None
        self._command = work, arguments
        self.child = Child(work, arguments)

    def assign(self, task: _Task | None) -> None:
        self.task = task
        if task:
            self.child.send(task)

    def restart(self) -> None:
        self.child.end()
        self.child = Child(*self._command)

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.end()


def _probe(pipe: Connection, job: Job, threads: int) -> None:
    pipe.send(measure(job, pipe.recv().pieces, threads))


def _analyze(pipe: Connection, job: Job, threads: int) -> None:
    analyzer = Analyzer(job, threads=threads)
    with open_recordings(job) as recordings, SyncStore(job.output, "--output") as results:
        while True:
            piece: Piece = pipe.recv()
            result = analyzer.analyze(read_piece(recordings, piece, analyzer.job, analyzer.detector.size))
            write_result(results, result)
            pipe.send(result.totals)


def _track(pipe: Connection, job: Job) -> None:
    with SyncStore(job.output, "--output") as results:
        while True:
            pipe.send(track_camera(results, job, pipe.recv()))
