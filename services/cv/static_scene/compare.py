"""What differs between two small pictures, beyond what light and a shaking camera explain. Pure.

    left = unexplained(picture, reference, noise)       # per block, in levels of grey; None where nothing explains it
    strength(left, noise)                               # of the block that differs most, in its own standard deviations

The light may have become brighter and flatter, and the camera may have moved by less than a block: to first order, the
picture is then a sum of the reference, a constant and the reference's two gradients. Their shares are found by least
squares, in which a block counts the less, the more it is off: somebody who has come in does not pass for light.
"""

from __future__ import annotations

import msgspec
import numpy as np

from services.cv.static_scene.picture import Floats, Grey


class CompareTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Chosen on the scenes of `make bench-static-scene`."""

    rounds: int = 3
    """The shares are found so many times, each time with the weights of what was left before."""

    outlier: float = 2.5
    """A block that is off by more than this many of its standard deviations counts less."""

    least_gain: float = 0.6
    most_gain: float = 1.6
    """Light that changes the contrast by more than this is none that a look is known in."""

    most_shift: float = 1.0
    """A camera that has moved by more than this many blocks has another picture."""


TUNING = CompareTuning()


def unexplained(picture: Grey | Floats, reference: Floats, deviation: Floats) -> Floats | None:
    """What is left of the difference, per block. deviation: each block's own. None where it is another picture."""
    down, across = np.gradient(reference)
    middle = float(reference.mean())
    basis = np.stack([np.ones_like(reference), reference - middle, across, down]).reshape(4, -1)
    wanted = (picture.astype(np.float32) - reference).ravel()
    spread = deviation.ravel()
    weights = 1 / spread**2
    left, shares = wanted, np.zeros(4, np.float32)
    for n in range(TUNING.rounds):
        if n:
            off = np.abs(left) / spread
            weights = np.minimum(1, TUNING.outlier / np.maximum(off, 1e-6)) ** 2 / spread**2
        weighted = basis * weights
        matrix = weighted @ basis.T
        # A flat picture has no gradients that could be told apart.
        slack = np.eye(4) * (1e-6 * np.trace(matrix) + 1e-9)
        shares = np.linalg.solve(matrix + slack, weighted @ wanted).astype(np.float32)
        left = wanted - shares @ basis
    if not TUNING.least_gain <= 1 + shares[1] <= TUNING.most_gain or np.abs(shares[2:]).max() > TUNING.most_shift:
        return None
    return left.reshape(reference.shape)


def strength(left: Floats | None, deviation: Floats) -> float:
    """How strongly the block that differs most does, in standard deviations: its own, or with its neighbours.

    What covers a corner where four blocks meet is seen in their sum.
    """
    if left is None:
        return float("inf")
    z = left / deviation
    squares = (z[:-1, :-1] + z[1:, :-1] + z[:-1, 1:] + z[1:, 1:]) / 2
    return max(float(np.abs(z).max()), float(np.abs(squares).max()))
