"""The difference between two small pictures that neither light nor camera shake explains. Pure.

    left = unexplained(picture, reference, noise)       # per block, in levels of grey; None for another picture
    strength(left, noise)                               # of the most different block, in its own standard deviations

The light may have become brighter and flatter, and the camera may have moved by less than a block. To first order, the
picture is then a sum of the reference, a constant and the reference's two gradients. Least squares finds their shares.
A block's weight falls with its error, so that a new person does not pass for light.
"""

from __future__ import annotations

import numpy as np

from services.cv.static_scene.picture import Floats, Grey

# Chosen on the scenes of `make bench-static-scene`.

# Iterations of the fit, each with the weights of the previous residuals.
FIT_ROUNDS = 3
# A block with an error above this many of its standard deviations counts less.
OUTLIER_DEVIATIONS = 2.5
MIN_GAIN = 0.6
# Maximum change of contrast by light; beyond it, no reference matches.
MAX_GAIN = 1.6
# Maximum movement of the camera in blocks; beyond it, it is another picture.
MAX_SHIFT_BLOCKS = 1.0


def unexplained(picture: Grey | Floats, reference: Floats, deviation: Floats) -> Floats | None:
    """Return the residual difference per block; None for another picture. deviation: each block's own."""
    down, across = np.gradient(reference)
    middle = float(reference.mean())
    basis = np.stack([np.ones_like(reference), reference - middle, across, down]).reshape(4, -1)
    wanted = (picture.astype(np.float32) - reference).ravel()
    spread = deviation.ravel()
    weights = 1 / spread**2
    left, shares = wanted, np.zeros(4, np.float32)
    for n in range(FIT_ROUNDS):
        if n:
            off = np.abs(left) / spread
            weights = np.minimum(1, OUTLIER_DEVIATIONS / np.maximum(off, 1e-6)) ** 2 / spread**2
        weighted = basis * weights
        matrix = weighted @ basis.T
        # A flat picture has no distinguishable gradients.
        slack = np.eye(4) * (1e-6 * np.trace(matrix) + 1e-9)
        shares = np.linalg.solve(matrix + slack, weighted @ wanted).astype(np.float32)
        left = wanted - shares @ basis
    if not MIN_GAIN <= 1 + shares[1] <= MAX_GAIN or np.abs(shares[2:]).max() > MAX_SHIFT_BLOCKS:
        return None
    return left.reshape(reference.shape)


def strength(left: Floats | None, deviation: Floats) -> float:
    """Return the strongest block difference in standard deviations: of one block, or with its neighbours.

    The sum reveals an object on the corner of four blocks.
    """
    if left is None:
        return float("inf")
    z = left / deviation
    squares = (z[:-1, :-1] + z[1:, :-1] + z[:-1, 1:] + z[1:, 1:]) / 2
    return max(float(np.abs(z).max()), float(np.abs(squares).max()))
