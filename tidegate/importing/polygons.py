"""Coordinates of zones and masks as fractions of the frame. Pure.

Example:
    polygon("0,0,640,0,640,720", (1280, 720))     # Polygon([(0.0, 0.0), (0.5, 0.0), (0.5, 1.0)])
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

from shared.contract import geometry

MOST_CORNERS = 64
_MOST_TEXT = 4000


class Polygon(NamedTuple):
    """points: fractions from the top left; empty if there is a flaw. change: how it differs from the input, or empty.

    flaw: why there is none.
    """

    points: list[tuple[float, float]]
    change: str = ""
    flaw: str = ""


def polygon(coordinates: Any, size: tuple[float, float] | None) -> Polygon:
    """Return the polygon of `x,y,x,y,…`, or of a list of `x,y`. size: of the frame that pixels are of."""
    numbers = _numbers(coordinates)
    if numbers is None or len(numbers) % 2:
        return Polygon([], flaw="not read: pairs of numbers, x,y,x,y, are expected")
    changes = []
    # As in Frigate: coordinates are fractions unless one is over 1.
    if any(n > 1 for n in numbers):
        if size is None:
            return Polygon([], flaw="it is in pixels of an unknown frame: set detect.width and detect.height")
        numbers = [n / size[i % 2] for i, n in enumerate(numbers)]
    if any(not 0 <= n <= 1 for n in numbers):
        numbers = [min(1.0, max(0.0, n)) for n in numbers]
        changes.append("corners outside the frame move to its edge")
    points = [(round(x, 4), round(y, 4)) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    distinct = [points[0], *(b for a, b in pairwise(points) if a != b)] if points else []
    if len(distinct) > 1 and distinct[0] == distinct[-1]:
        distinct.pop()
    if not 3 <= len(distinct) <= MOST_CORNERS:
        return Polygon([], flaw=f"a polygon has 3 to {MOST_CORNERS} corners, and it has {len(distinct)}: redraw it")
    if flaw := geometry.flaw(distinct):
        return Polygon([], flaw=flaw)
    return Polygon(distinct, "; ".join(changes))


def _numbers(coordinates: Any) -> list[float] | None:
    if isinstance(coordinates, list):
        coordinates = ",".join(str(part) for part in coordinates)
    if not isinstance(coordinates, str) or len(coordinates) > _MOST_TEXT:
        return None
    try:
        numbers = [float(part) for part in coordinates.split(",")]
    except ValueError:
        return None
    return numbers if all(math.isfinite(n) for n in numbers) else None
