"""Finds the pixels that polygons cover, row by row, and a pixel more on each side: half a pixel shows a face. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from shared.contract.geometry import Point

# Begin and end of a covered run in a row.
Run = tuple[int, int]


def covered_runs(polygons: Iterable[Sequence[Point]], width: int, height: int) -> list[list[Run]]:
    """Return the covered runs of each row, in order. polygons: in shares of width and height, as zones are."""
    rows: list[list[Run]] = [[] for _ in range(height)]
    for polygon in polygons:
        points = [(x * width, y * height) for x, y in polygon]
        edges = list(zip(points, [*points[1:], points[0]], strict=True))
        ys = [y for _, y in points]
        for row in range(max(0, math.floor(min(ys)) - 1), min(height, math.ceil(max(ys)) + 1)):
            for begin, end in _between(edges, row - 1.0, row + 2.0):
                rows[row].append((max(0, math.floor(begin) - 1), min(width, math.ceil(end) + 1)))
    return [_merged(row) for row in rows]


def halve_runs(rows: Sequence[Sequence[Run]]) -> list[list[Run]]:
    """Scale runs to a plane of half the width and height: a pixel is covered if any of its four is."""
    pairs = [[*rows[n], *(rows[n + 1] if n + 1 < len(rows) else ())] for n in range(0, len(rows), 2)]
    return [_merged([(begin // 2, -(-end // 2)) for begin, end in row]) for row in pairs]


def _between(edges: Sequence[tuple[Point, Point]], top: float, bottom: float) -> Iterator[tuple[float, float]]:
    """Yield the x ranges that a polygon covers between two heights: its edges there, and its inside."""
    for (x1, y1), (x2, y2) in edges:
        low, high = max(min(y1, y2), top), min(max(y1, y2), bottom)
        if low <= high:
            xs = [x1, x2] if y1 == y2 else [x1 + (y - y1) * (x2 - x1) / (y2 - y1) for y in (low, high)]
            yield min(xs), max(xs)
    for y in (top, bottom):
        crossed = sorted(x1 + (y - y1) * (x2 - x1) / (y2 - y1) for (x1, y1), (x2, y2) in edges if (y1 > y) != (y2 > y))
        yield from zip(crossed[::2], crossed[1::2], strict=True)


def _merged(runs: Iterable[Run]) -> list[Run]:
    found: list[Run] = []
    for begin, end in sorted(runs):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif begin < end:
            found.append((begin, end))
    return found
