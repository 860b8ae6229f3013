"""One look before a run: whether the model works where it is to run, what it takes, and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from shared.runtime.errors import TidegateError
from tidegate.archive.job import Job, Piece
from tidegate.archive.looking import Eyes
from tidegate.archive.place import recordings
from tidegate.archive.reading import Size, opened

T = TypeVar("T")

# So many frames are enough for a rate.
_FRAMES = 60


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """name: of the model. size: that it takes. labels: that it knows. view: the size that the embedder takes.
    frames_per_s: of one worker, detected in or embedded.
    """

    name: str
    size: Size
    labels: tuple[str, ...]
    view: Size = None
    frames_per_s: float


def some(pieces: Sequence[T]) -> list[T]:
    """Those to try, as some may have gone: the oldest goes first."""
    n = len(pieces)
    return [pieces[k] for k in dict.fromkeys((n // 2, n - 1, 3 * n // 4, n // 4, 0))]


def probed(job: Job, pieces: Sequence[Piece], threads: int) -> Probed:
    """Look at the beginning of the first piece that can be read. Raises TidegateError with the remedy."""
    eyes = Eyes(job, threads=threads)
    job, detector, read = eyes.job, eyes.detector, 0
    with recordings(job) as kept:
        for piece in pieces:
            # What is done for the first time is no measure.
            eyes.see(opened(kept, beginning(piece, job, 1), job, detector.size))
            began = time.perf_counter()
            seen = eyes.see(opened(kept, beginning(piece, job), job, detector.size))
            read += seen.looked.segments
            if frames := seen.looked.frames + seen.looked.embedded:
                rate = frames / (time.perf_counter() - began)
                view = job.embed.size if job.embed else None
                return Probed(
                    name=detector.name, size=detector.size, labels=detector.labels, view=view, frames_per_s=rate
                )
    if read:
        raise TidegateError("not one frame is looked at in what was tried: raise --fps, or EMBED_FPS")
    raise TidegateError(f"none of {', '.join(piece.file.key for piece in pieces)} can be read: see {job.store}")


def beginning(piece: Piece, job: Job, frames: int = _FRAMES) -> Piece:
    """So many frames of it, at least."""
    end = piece.begin + 1
    while end < piece.end and job.frames(replace(piece, end=end)) < frames:
        end += 1
    return replace(piece, end=end)
