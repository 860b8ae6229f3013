"""The noise of each block: sensor, encoder, leaves. Pure.

A change without a detection is noise. It is learned from the residuals of each comparison, except in blocks with
objects.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.contract.events import Box
from shared.static_scene.picture import SHAPE, SIZE, Floats

# Chosen on the scenes of `make bench-static-scene`. In levels of grey.

# The initial deviation of a block.
INITIAL_DEVIATION = 2.0
# The minimum deviation: grey has integer levels.
MIN_DEVIATION = 1.0
# The maximum deviation: a person in a dark coat on a bright road differs by that much.
MAX_DEVIATION = 24.0
# Learned noise decays over this many pictures.
MEMORY_PICTURES = 32.0
# The weight of the initial deviation, in pictures.
INITIAL_WEIGHT = 4.0
# The cap of an error in standard deviations: an undetected person must not blind a block immediately.
MAX_ERROR_DEVIATIONS = 3.0
# Blocks around an object that may be its shadow, or its past and next position.
MARGIN_BLOCKS = 2


class Noise(msgspec.Struct, frozen=True):
    """variance: per block. pictures: the effective number that it was learned from."""

    variance: Floats
    pictures: float

    @property
    def deviation(self) -> Floats:
        return np.sqrt(self.variance).clip(MIN_DEVIATION, MAX_DEVIATION)


def initial() -> Noise:
    return Noise(np.full(SHAPE, INITIAL_DEVIATION**2, np.float32), INITIAL_WEIGHT)


def learn(noise: Noise, left: Floats, objects: Iterable[Box]) -> Noise:
    """Learn from one more picture. left: the residuals. objects: their boxes."""
    share = 1 / min(noise.pictures + 1, MEMORY_PICTURES)
    squares = np.minimum(left**2, MAX_ERROR_DEVIATIONS**2 * noise.variance)
    grown = noise.variance + share * (squares - noise.variance)
    variance = np.where(covered(objects), noise.variance, grown).clip(MIN_DEVIATION**2 / 4, MAX_DEVIATION**2)
    return Noise(variance.astype(np.float32), min(noise.pictures + 1, MEMORY_PICTURES))


def covered(objects: Iterable[Box]) -> NDArray[np.bool_]:
    """Return the blocks with objects, and those around them."""
    found = np.zeros(SHAPE, bool)
    for x1, y1, x2, y2 in objects:
        left, right = int(x1 * SIZE[0]) - MARGIN_BLOCKS, int(np.ceil(x2 * SIZE[0])) + MARGIN_BLOCKS
        top, bottom = int(y1 * SIZE[1]) - MARGIN_BLOCKS, int(np.ceil(y2 * SIZE[1])) + MARGIN_BLOCKS
        found[max(0, top) : bottom, max(0, left) : right] = True
    return found


def merge(a: Noise, b: Noise) -> Noise:
    """Merge the noise of two replicas, weighted by their pictures."""
    total = a.pictures + b.pictures
    variance = (a.variance * a.pictures + b.variance * b.pictures) / total
    return Noise(variance.astype(np.float32), max(a.pictures, b.pictures))
