"""Work by processes of this machine, each with a model of its own.

    for looked in Local(workers=4, threads=1).looked(job, todo, size): ...

A process that dies takes no piece with it: another does that. A piece that kills whoever tries it is named.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from shared.runtime.errors import TidegateError
from tidegate.archive.child import Child, Ended
from tidegate.archive.following import Course, Followed, follow
from tidegate.archive.job import Job, Piece
from tidegate.archive.looking import Eyes, Looked, keep
from tidegate.archive.place import Place, recordings
from tidegate.archive.probe import Probed, probed
from tidegate.archive.reading import Size, opened

# So often a piece is tried whose worker dies.
TRIES = 3


class _Sample(NamedTuple):
    """What a model is measured with."""

    pieces: Sequence[Piece]
    key: str = "what was to be measured"


class _Part(Protocol):
    @property
    def key(self) -> str: ...


class Local(NamedTuple):
    """workers: processes. threads: of the model in each."""

    workers: int
    threads: int

    def probe(self, job: Job, pieces: Sequence[Piece]) -> Probed:
        """In a process of its own, so that this one stays small. Raises TidegateError."""
        (found,) = _each(_probe, (job, self.threads), [_Sample(pieces)], 1)
        return found  # type: ignore[no-any-return]

    def looked(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[Looked]:
        """Each piece, as it is done. Raises TidegateError."""
        return _each(_look, (job, self.threads), todo, self.workers)

    def followed(self, job: Job, todo: Sequence[Course]) -> Iterator[Followed]:
        """Each camera, as it is done. Raises TidegateError."""
        return _each(_follow, (job,), todo, self.workers)


def _each(work: Callable[..., None], arguments: tuple[Any, ...], todo: Sequence[_Part], workers: int) -> Iterator[Any]:
    left, tries = deque(todo), Counter[str]()
    with contextlib.ExitStack() as ended:
        team = [ended.enter_context(_Worker(work, arguments)) for _ in range(min(workers, len(todo)))]
        for worker in team:
            worker.give(left.popleft())
        while busy := {worker.child.pipe: worker for worker in team if worker.part}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                part = worker.part
                assert part
                try:
                    yield worker.child.answer()
                except Ended:
                    tries[part.key] += 1
                    if tries[part.key] == TRIES:
                        raise TidegateError(
                            f"{part.key} has killed {TRIES} workers: is there memory enough? Give fewer --workers, or "
                            "leave its time out"
                        ) from None
                    left.appendleft(part)
                    worker.begin_anew()
                worker.give(left.popleft() if left else None)


class _Worker:
    """A process, and what it has in hand."""

    def __init__(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.part: _Part | None = None
        self._what = work, arguments
        self.child = Child(work, arguments)

    def give(self, part: _Part | None) -> None:
        self.part = part
        if part:
            self.child.give(part)

    def begin_anew(self) -> None:
        self.child.end()
        self.child = Child(*self._what)

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.end()


def _probe(pipe: Connection, job: Job, threads: int) -> None:
    pipe.send(probed(job, pipe.recv().pieces, threads))


def _look(pipe: Connection, job: Job, threads: int) -> None:
    eyes = Eyes(job, threads=threads)
    with recordings(job) as kept, Place(job.output, "--output") as results:
        while True:
            piece: Piece = pipe.recv()
            seen = eyes.see(opened(kept, piece, eyes.job, eyes.detector.size))
            keep(results, seen)
            pipe.send(seen.looked)


def _follow(pipe: Connection, job: Job) -> None:
    with Place(job.output, "--output") as results:
        while True:
            pipe.send(follow(results, job, pipe.recv()))
