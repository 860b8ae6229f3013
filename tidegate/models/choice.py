"""The settings of a detector: the fewest threads and the smallest batch that are nearly the fastest, and in time.

Example:
    choice = choose(load, footage, fps=5, counts=[1, 2], decoding=1, latency_s=2, seconds=5)
    choice.detector, choice.batch, choice.threads
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from services.cv.detectors import Detector
from tidegate.models import capacity, replica, speed
from tidegate.models.footage import Footage, pictures
from tidegate.models.speed import Speed


class Choice(NamedTuple):
    """detector: loaded with `threads`. speed: of each batch size with these."""

    detector: Detector
    batch: int
    threads: int
    speed: Speed


def choose(
    load: Callable[[int], Detector],
    footage: Footage,
    *,
    fps: float,
    counts: Sequence[int],
    decoding: int,
    latency_s: float,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Choice:
    """Measure the detector that `load` returns with each number of threads. decoding: threads that decode."""
    found: dict[int, tuple[Detector, Speed]] = {}
    for threads in counts:
        words = f"{threads} thread{'s' * (threads > 1)}"
        tell(f"detector, {words}")
        detector = load(threads)
        images = [image for part in footage.parts[:8] for image in pictures(part, detector, fps)]
        report = partial(_tell, tell, words)
        measured = speed.measure(detector, images, seconds=seconds / len(counts), tell=report)
        found[threads] = (detector, measured)
    threads = capacity.fewest({n: measured.best.pictures_s for n, (_, measured) in found.items()})
    detector, measured = found[threads]
    segments_s = measured.best.pictures_s / (fps * footage.segment_s)
    batch = capacity.choose_batch(
        measured.rates, lambda size: capacity.in_time(replica.hold(size, decoding), segments_s, latency_s)
    )
    return Choice(detector, batch, threads, measured)


def _tell(tell: Callable[[str], None], words: str, text: str) -> None:
    tell(f"{words}, {text}")
