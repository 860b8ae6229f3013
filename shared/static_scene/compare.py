"""The difference between two small pictures that neither light nor camera shake explains. Pure.

    left = unexplained(picture, reference, noise)       # per block, in levels of grey; None for another picture
    odd_blocks(left, noise, 6.0)                        # those that differ by six of their own standard deviations

The light may have become brighter and flatter, and the camera may have moved by less than a block. To first order, the
picture is then a sum of the reference, a constant and the reference's two gradients. Least squares finds their shares.
A block's weight falls with its error, so that a new person does not pass for light.
"""

from __future__ import annotations

import numpy as np

from shared.static_scene.picture import Blocks, Floats, Grey

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
# A block with at least this deviation, in levels, would hide a person.
BLIND_DEVIATION = 8.0
# If more than this share of the blocks would hide a person, the scene is restless: nothing in it is skipped.
MAX_BLIND_SHARE = 0.05
# Drops are at most this share of the blocks; a patch has this many blocks in a square of this side.
MAX_SPARSE_SHARE = 0.04
PATCH_BLOCKS, PATCH_SIDE = 10, 4


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


def odd_blocks(left: Floats, deviation: Floats, least: float) -> Blocks:
    """Return the blocks whose difference is at least `least` standard deviations, alone or with their neighbours.

    The sum of four reveals an object on their corner. A block that changes too much by itself is no witness.
    """
    z = np.where(deviation >= BLIND_DEVIATION, 0, left / deviation)
    size = np.abs(z)
    odd = size >= least
    squares = np.abs(z[:-1, :-1] + z[1:, :-1] + z[:-1, 1:] + z[1:, 1:]) >= 2 * least
    if squares.any():
        for part in (np.s_[:-1, :-1], np.s_[1:, :-1], np.s_[:-1, 1:], np.s_[1:, 1:]):
            odd[part] |= squares & (size[part] >= least / 2)
    return odd


def is_restless(deviation: Floats) -> bool:
    """Whether so much changes by itself that a visitor could hide in it."""
    return float((deviation >= BLIND_DEVIATION).mean()) > MAX_BLIND_SHARE


def has_patch(odd: Blocks) -> bool:
    """Whether differing blocks are too many, or too close to each other, for drops, flakes and glints."""
    count = int(np.count_nonzero(odd))
    if count < PATCH_BLOCKS or count > MAX_SPARSE_SHARE * odd.size:
        return count >= PATCH_BLOCKS
    sums = np.pad(odd, ((1, 0), (1, 0))).astype(np.int32).cumsum(0).cumsum(1)
    n = PATCH_SIDE
    inside = sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]
    return bool(inside.max() >= PATCH_BLOCKS)


def near(odd: Blocks) -> Blocks:
    """Return these blocks and those next to them."""
    rows = np.pad(odd, 1)
    rows = rows[:-2] | rows[1:-1] | rows[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])
