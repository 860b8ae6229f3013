"""The noise of each block: sensor, encoder, leaves. Pure.

A change without a detection is noise. It is learned from the residuals of each comparison, except in blocks with
objects.
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
    """The initial deviation of a block."""

    least: float = 1.0
    """The minimum deviation: grey has integer levels."""

    most: float = 24.0
    """The maximum deviation: a person in a dark coat on a bright road differs by that much."""

    memory: float = 32.0
    """Learned noise decays over this many pictures."""

    start: float = 4.0
    """The weight of the initial deviation, in pictures."""

    surprise: float = 3.0
    """The cap of an error in standard deviations: an undetected person must not blind a block immediately."""

    margin: int = 2
    """Blocks around an object that may be its shadow, or its past and next position."""


TUNING = NoiseTuning()


class Noise(msgspec.Struct, frozen=True):
    """variance: per block. pictures: the effective number that it was learned from."""

    variance: Floats
    pictures: float

    @property
    def deviation(self) -> Floats:
        return np.sqrt(self.variance).clip(TUNING.least, TUNING.most)


def initial() -> Noise:
    return Noise(np.full(SHAPE, TUNING.first**2, np.float32), TUNING.start)


def learn(noise: Noise, left: Floats, objects: Iterable[Box]) -> Noise:
    """Learn from one more picture. left: the residuals. objects: their boxes."""
    share = 1 / min(noise.pictures + 1, TUNING.memory)
    squares = np.minimum(left**2, TUNING.surprise**2 * noise.variance)
    grown = noise.variance + share * (squares - noise.variance)
    variance = np.where(covered(objects), noise.variance, grown).clip(TUNING.least**2 / 4, TUNING.most**2)
    return Noise(variance.astype(np.float32), min(noise.pictures + 1, TUNING.memory))


def covered(objects: Iterable[Box]) -> NDArray[np.bool_]:
    """Return the blocks with objects, and those around them."""
    found = np.zeros(SHAPE, bool)
    for x1, y1, x2, y2 in objects:
        left, right = int(x1 * SIZE[0]) - TUNING.margin, int(np.ceil(x2 * SIZE[0])) + TUNING.margin
        top, bottom = int(y1 * SIZE[1]) - TUNING.margin, int(np.ceil(y2 * SIZE[1])) + TUNING.margin
        found[max(0, top) : bottom, max(0, left) : right] = True
    return found


def merge(a: Noise, b: Noise) -> Noise:
    """Merge the noise of two replicas, weighted by their pictures."""
    total = a.pictures + b.pictures
    variance = (a.variance * a.pictures + b.variance * b.pictures) / total
    return Noise(variance.astype(np.float32), max(a.pictures, b.pictures))
