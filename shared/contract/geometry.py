"""Points, polygons and lines in a frame. Pure.

Coordinates are shares of width and height, y down. Where a length or an angle matters, x is stretched by the frame's
`aspect`, width over height, so that both are in heights of the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]


def inside(polygon: Sequence[Point], point: Point) -> bool:
    """Return whether the point lies in the polygon: an odd number of edges is to its right."""
    x, y = point
    found = False
    x1, y1 = polygon[-1]
    for x2, y2 in polygon:
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            found = not found
        x1, y1 = x2, y2
    return found


def right_of(start: Point, end: Point, point: Point, aspect: float) -> float:
    """Return how far right of the directed line the point lies, in heights of the frame; negative on its left."""
    dx, dy = (end[0] - start[0]) * aspect, end[1] - start[1]
    px, py = (point[0] - start[0]) * aspect, point[1] - start[1]
    return (dx * py - dy * px) / math.hypot(dx, dy)


def border(polygon: Sequence[Point], point: Point, aspect: float) -> float:
    """Return the distance from the nearest edge, in heights of the frame. The frame's own edges do not count."""
    px, py = point[0] * aspect, point[1]
    least = math.inf
    x1, y1 = polygon[-1][0] * aspect, polygon[-1][1]
    for x, y2 in polygon:
        x2 = x * aspect
        if (x1 == x2 and x in (0.0, 1.0)) or (y1 == y2 and y2 in (0.0, 1.0)):
            x1, y1 = x2, y2
            continue
        dx, dy = x2 - x1, y2 - y1
        length = dx * dx + dy * dy
        share = min(1.0, max(0.0, ((px - x1) * dx + (py - y1) * dy) / length)) if length else 0.0
        least = min(least, math.hypot(px - x1 - share * dx, py - y1 - share * dy))
        x1, y1 = x2, y2
    return least


def meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Return whether the segments a-b and c-d have a common point."""

    def turn(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    def between(p: Point, q: Point, r: Point) -> bool:
        return min(p[0], q[0]) <= r[0] <= max(p[0], q[0]) and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])

    t1, t2, t3, t4 = turn(c, d, a), turn(c, d, b), turn(a, b, c), turn(a, b, d)
    if ((t1 > 0) != (t2 > 0)) and ((t3 > 0) != (t4 > 0)) and t1 and t2 and t3 and t4:
        return True
    return any(
        t == 0 and between(p, q, r) for t, p, q, r in ((t1, c, d, a), (t2, c, d, b), (t3, a, b, c), (t4, a, b, d))
    )


def met_at(start: Point, to: Point, corners: Sequence[Point], *, closed: bool) -> float:
    """Return the fraction of the path from `start` to `to` at which it first meets an edge; 1 if it meets none.

    closed: whether an edge joins the last corner to the first.
    """
    dx, dy = to[0] - start[0], to[1] - start[1]
    first = 1.0
    ends = zip(corners, [*corners[1:], corners[0]], strict=True) if closed else pairwise(corners)
    for (x1, y1), (x2, y2) in ends:
        ex, ey = x2 - x1, y2 - y1
        across = dx * ey - dy * ex
        if across:
            share = ((x1 - start[0]) * ey - (y1 - start[1]) * ex) / across
            along = ((x1 - start[0]) * dy - (y1 - start[1]) * dx) / across
            if 0 <= share < first and 0 <= along <= 1:
                first = share
    return first


def flaw(polygon: Sequence[Point]) -> str | None:
    """Return the fault of the corners, and its remedy; None if they enclose an area properly."""
    if any(a == b for a, b in pairwise([*polygon, polygon[0]])):
        return "a corner follows itself: leave it out; the last is joined to the first"
    if crosses_itself(polygon):
        return "its edges cross each other: give its corners in order, around it"
    if area(polygon) == 0:
        return "it has no area: its corners lie on one line"
    return None


def crosses_itself(polygon: Sequence[Point]) -> bool:
    """Return whether two edges meet that are not neighbours."""
    n = len(polygon)
    edges = [(polygon[i], polygon[(i + 1) % n]) for i in range(n)]
    return any(meet(*edges[i], *edges[j]) for i in range(n) for j in range(i + 2, n) if (j + 1) % n != i)


def area(polygon: Sequence[Point]) -> float:
    """Return the polygon's area, as a fraction of the frame's."""
    turns = (p[0] * q[1] - q[0] * p[1] for p, q in zip(polygon, [*polygon[1:], polygon[0]], strict=True))
    return abs(sum(turns)) / 2


def heading(dx: float, dy: float) -> float:
    """Return the direction of a movement, in degrees clockwise from up, 0 to 360. dx, dy: in heights; y points down."""
    return math.degrees(math.atan2(dx, -dy)) % 360


def turned(a: float, b: float) -> float:
    """Return the angle between two headings, 0 to 180 degrees."""
    return abs((a - b + 180) % 360 - 180)


def apart(a: Sequence[float], b: Sequence[float], aspect: float) -> float:
    """Return the distance between two boxes, in heights of the frame; 0 if they touch."""
    dx = max(a[0] - b[2], b[0] - a[2], 0.0) * aspect
    dy = max(a[1] - b[3], b[1] - a[3], 0.0)
    return math.hypot(dx, dy)
