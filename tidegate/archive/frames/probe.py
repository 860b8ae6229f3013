"""A measurement before a run: whether the model works on the machines of the run, and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from shared.runtime.errors import TidegateError
from tidegate.archive.frames.analysis import Analyzer
from tidegate.archive.frames.decoding import Size, read_piece
from tidegate.archive.job import Job, Piece
from tidegate.archive.sync_store import open_recordings

T = TypeVar("T")

# Frames that are enough to measure a rate.
_FRAMES = 60


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The measured model.

    name: of the detector. size: of its input. labels: its classes. view: the size of the embedder's input.
    frames_per_s: of one worker, for detection and embedding.
    """

    name: str
    size: Size
    labels: tuple[str, ...]
    view: Size = None
    frames_per_s: float


def sample(pieces: Sequence[T]) -> list[T]:
    """Return pieces to try, one after another: some may be deleted meanwhile, the oldest first."""
    n = len(pieces)
    return [pieces[k] for k in dict.fromkeys((n // 2, n - 1, 3 * n // 4, n // 4, 0))]


def measure(job: Job, pieces: Sequence[Piece], threads: int) -> ProbeResult:
    """Analyse the beginning of the first readable piece. Raises TidegateError with the remedy."""
    analyzer = Analyzer(job, threads=threads)
    job, detector, analyzed = analyzer.job, analyzer.detector, 0
    with open_recordings(job) as recordings:
        for piece in pieces:
            # The first inference is a warm-up, and not measured.
            analyzer.analyze(read_piece(recordings, first_frames(piece, job, 1), job, detector.size))
            began = time.perf_counter()
            result = analyzer.analyze(read_piece(recordings, first_frames(piece, job), job, detector.size))
            analyzed += result.totals.segments
            if frames := result.totals.frames + result.totals.embedded:
                rate = frames / (time.perf_counter() - began)
                view = job.embed.size if job.embed else None
                return ProbeResult(
                    name=detector.name, size=detector.size, labels=detector.labels, view=view, frames_per_s=rate
                )
    if analyzed:
        raise TidegateError("not one frame is looked at in what was tried: raise --fps, or EMBED_FPS")
    raise TidegateError(f"none of {', '.join(piece.file.key for piece in pieces)} can be read: see {job.store}")


def first_frames(piece: Piece, job: Job, frames: int = _FRAMES) -> Piece:
    """Return the beginning of a piece, with at least that many frames if it has them."""
    end = piece.begin + 1
    while end < piece.end and job.frames(replace(piece, end=end)) < frames:
        end += 1
    return replace(piece, end=end)
