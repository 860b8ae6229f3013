"""A detector's rate by batch size, next to the rate of its runtime alone on the same network.

Example:
    found = measure(detector, images, seconds=5)
    found.best.pictures_s, found.best.share
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from services.cv.detectors import Detector
from shared.video.decode import Image

SIZES = (1, 4, 8, 16)
ROUNDS = 3
# So that the runtime's queue is full for most of a short slice.
_LEAST = 8


@runtime_checkable
class Bare(Protocol):
    """A detector whose network runs without the reading of its outputs."""

    def bare(self, count: int) -> None: ...


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """The rate at one batch size. ms: of a picture, median of rounds. share: of the runtime's own rate, if known."""

    batch: int
    ms: float
    pictures_s: float
    share: float | None = None


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """bare_s: pictures that the runtime alone does in a second; None where it was not measured."""

    paces: tuple[Pace, ...]
    bare_s: float | None = None

    @property
    def best(self) -> Pace:
        """The fastest batch size."""
        return max(self.paces, key=lambda pace: pace.pictures_s)

    @property
    def rates(self) -> dict[int, float]:
        """Pictures per second by batch size."""
        return {pace.batch: pace.pictures_s for pace in self.paces}


def measure(
    detector: Detector,
    images: Sequence[Image],
    *,
    seconds: float,
    sizes: Sequence[int] = SIZES,
    tell: Callable[[str], None] = lambda _: None,
) -> Speed:
    """Measure each batch size and the bare runtime in alternating rounds, so that a busy machine slows all alike.

    images: as the detector wants them, at least one. seconds: for all of it; a slow detector takes longer.
    """
    part = seconds / (ROUNDS * (len(sizes) + 1))
    turns = itertools.cycle(images)
    began = time.perf_counter()
    for size in sizes:
        detector.detect(list(itertools.islice(turns, size)))
    spent = (time.perf_counter() - began) / sum(sizes)
    bare: list[float] = []
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    for n in range(ROUNDS):
        tell(f"round {n + 1} of {ROUNDS}: {1000 * spent:.0f} ms a picture")
        if isinstance(detector, Bare):
            bare.append(_bare(detector, max(_LEAST, round(part / spent))))
        for size in sizes:
            rates[size].append(_rate(detector, turns, size, part))
    paces = tuple(_pace(size, found, bare) for size, found in rates.items())
    return Speed(paces=paces, bare_s=statistics.median(bare) if bare else None)


def _pace(size: int, rates: Sequence[float], bare: Sequence[float]) -> Pace:
    share = statistics.median(rate / ceiling for rate, ceiling in zip(rates, bare, strict=True)) if bare else None
    rate = statistics.median(rates)
    return Pace(batch=size, ms=1000 / rate, pictures_s=rate, share=share)


def _rate(detector: Detector, turns: itertools.cycle[Image], size: int, seconds: float) -> float:
    done, began = 0, time.perf_counter()
    while not done or time.perf_counter() - began < seconds:
        detector.detect(list(itertools.islice(turns, size)))
        done += size
    return done / (time.perf_counter() - began)


def _bare(detector: Bare, count: int) -> float:
    began = time.perf_counter()
    detector.bare(count)
    return count / (time.perf_counter() - began)
