"""How much each block changes by itself: sensor, encoder, leaves. Pure.

What the detector finds nothing in and changes all the same is noise: it is learned from what is left of each
comparison, but for the blocks in which there are objects.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.cv.static_scene.picture import SHAPE, SIZE, Floats
from shared.contract.events import Box


class NoiseTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Chosen on the scenes of `make bench-static-scene`. In levels of grey."""

    first: float = 2.0
    """The deviation of a block of which nothing is known."""

    least: float = 1.0
    """No block has less: grey has whole levels."""

    most: float = 24.0
    """No block has more: somebody in a dark coat on a bright road differs by that much."""

    memory: float = 32.0
    """What was learned fades over so many pictures."""

    start: float = 4.0
    """The first deviation counts as much as so many pictures."""

    surprise: float = 3.0
    """What is off by more than so many standard deviations counts as if it were so many: somebody whom the detector
    does not see must not make a block blind at once."""

    margin: int = 2
    """Blocks around an object that may be its shadow, or where it has been and will be."""


TUNING = NoiseTuning()


class Noise(msgspec.Struct, frozen=True):
    """variance: per block. pictures: how many it was learned from, as far as that counts."""

    variance: Floats
    pictures: float

    @property
    def deviation(self) -> Floats:
        return np.sqrt(self.variance).clip(TUNING.least, TUNING.most)


def unknown() -> Noise:
    return Noise(np.full(SHAPE, TUNING.first**2, np.float32), TUNING.start)


def learned(noise: Noise, left: Floats, objects: Iterable[Box]) -> Noise:
    """With one more picture. left: what was unexplained. objects: where there are any."""
    share = 1 / min(noise.pictures + 1, TUNING.memory)
    squares = np.minimum(left**2, TUNING.surprise**2 * noise.variance)
    grown = noise.variance + share * (squares - noise.variance)
    variance = np.where(covered(objects), noise.variance, grown).clip(TUNING.least**2 / 4, TUNING.most**2)
    return Noise(variance.astype(np.float32), min(noise.pictures + 1, TUNING.memory))


def covered(objects: Iterable[Box]) -> NDArray[np.bool_]:
    """The blocks in which there are objects, and those around them."""
    found = np.zeros(SHAPE, bool)
    for x1, y1, x2, y2 in objects:
        left, right = int(x1 * SIZE[0]) - TUNING.margin, int(np.ceil(x2 * SIZE[0])) + TUNING.margin
        top, bottom = int(y1 * SIZE[1]) - TUNING.margin, int(np.ceil(y2 * SIZE[1])) + TUNING.margin
        found[max(0, top) : bottom, max(0, left) : right] = True
    return found


def merged(a: Noise, b: Noise) -> Noise:
    """What two replicas have learned, each counting as much as it has seen."""
    total = a.pictures + b.pictures
    variance = (a.variance * a.pictures + b.variance * b.pictures) / total
    return Noise(variance.astype(np.float32), max(a.pictures, b.pictures))
