"""The small picture that identifies a scene."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.video import pictures
from shared.video.decode import Image

# (width, height).
SIZE = (64, 48)
SHAPE = (SIZE[1], SIZE[0])
# The shares of red, green and blue in grey, as in BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# Grey, uint8 or, during computation, float32: SHAPE.
Grey: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
# Whether something holds of each block: SHAPE.
Blocks: TypeAlias = NDArray[np.bool_]


def small(image: Image) -> Grey:
    """Return the small picture of a frame, for a process that has not decoded it as grey."""
    return np.rint(pictures.resize(image, SIZE) @ _LUMA).astype(np.uint8)
