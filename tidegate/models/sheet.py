"""A contact sheet: six frames in two rows, with the outlines of boxes. Pure.

Example:
    page = sheet([(image, [o.box for o in objects]) for image, objects in frames])      # uint8 (720, 1920, 3)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.contract.events import Box
from shared.video.decode import Image, fitted
from shared.video.pictures import outlined, resize

ROWS, COLUMNS = 2, 3
COUNT = ROWS * COLUMNS
# The size of one frame's place: (width, height).
PLACE = (640, 360)
_GREY = 40


def sheet(frames: Sequence[tuple[Image, Sequence[Box]]]) -> Image:
    """Return a page with at most COUNT frames, each fitted into its place. boxes: in shares of their frame."""
    width, height = PLACE
    page = np.full((ROWS * height, COLUMNS * width, 3), _GREY, np.uint8)
    for n, (image, boxes) in enumerate(frames[:COUNT]):
        size = fitted((image.shape[1], image.shape[0]), PLACE)
        small = resize(image, size)
        for box in boxes:
            small = outlined(small, box)
        top = n // COLUMNS * height + (height - size[1]) // 2
        left = n % COLUMNS * width + (width - size[0]) // 2
        page[top : top + size[1], left : left + size[0]] = small
    return page


def spread(count: int, of: int) -> list[int]:
    """Return up to `count` indices, evenly over `of` items."""
    return sorted({round(k * (of - 1) / max(1, count - 1)) for k in range(count)}) if of else []
