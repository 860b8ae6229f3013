"""The small picture that identifies a scene."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# (width, height).
SIZE = (64, 48)
SHAPE = (SIZE[1], SIZE[0])

# Grey, uint8 or, during computation, float32: SHAPE.
Grey: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
# Whether something holds of each block: SHAPE.
Blocks: TypeAlias = NDArray[np.bool_]
