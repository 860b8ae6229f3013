"""Decides the crop of a frame for an object. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from shared.contract.events import Box, DetectedObject
from shared.video.decode import Image


class Area(NamedTuple):
    """A rectangle in pixels: left and top are inside, right and bottom are not."""

    left: int
    top: int
    right: int
    bottom: int


def around(box: Box, width: int, height: int) -> Area:
    """Return the square around an object, moved into the frame, and at most as large as that.

    Models take squares, and don't recognise a person stretched to one.
    """
    x1, y1, x2, y2 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    side = max(x2 - x1, y2 - y1, 1)
    left, right = _span((x1 + x2) / 2, side, width)
    top, bottom = _span((y1 + y2) / 2, side, height)
    return Area(left, top, right, bottom)


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    length = min(math.ceil(side), limit)
    start = min(max(round(centre - length / 2), 0), limit - length)
    return start, start + length


def worth_it(
    objects: Sequence[DetectedObject], width: int, height: int, *, most: int, least: int
) -> list[DetectedObject]:
    """Return the `most` objects of the best score whose longer side has at least `least` pixels."""
    large = [o for o in objects if max((o.box[2] - o.box[0]) * width, (o.box[3] - o.box[1]) * height) >= least]
    return sorted(large, key=lambda o: -o.score)[:most]


def cut(image: Image, area: Area) -> Image:
    """Return the pixels of that area: a view, not a copy."""
    return image[area.top : area.bottom, area.left : area.right]
