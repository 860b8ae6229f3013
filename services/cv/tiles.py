"""Small objects: a frame looked at whole and in overlapping tiles, and what is found joined.

    grid = Grid.of("2x1")                                   # two columns, one row
    images = grid.images(pixels, detector.size)             # the whole frame first, then its tiles, row by row
    objects = grid.join(detector.detect(images))

A detector that looks at 300x300 pixels sees of somebody who is a fiftieth of a frame wide six of them. In a tile he is
larger. What is no larger than the overlap of two tiles is whole in one of them, so what a tile cuts off is left out;
what is larger is taken from the whole frame too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from services.cv.detectors import Detection, detections
from shared.contract.events import Box
from shared.video.decode import Image
from shared.video.pictures import resize

# Of a tile's side. Less enlarges more, and leaves more to the whole frame: see docs/explanation/tracking.md.
OVERLAP = 0.15
# A box that ends so near to an inner edge is cut off by it, and one that ends this near may be: of a tile's side, 3 and
# 15 of 300 pixels.
EDGE, NEAR_EDGE = 0.01, 0.05
# So much of what may be cut off lies in the whole object's box.
INSIDE = 0.8
# From so much of the overlap on an object may be cut off by both tiles: boxes tremble.
LARGE = 0.75
# Two boxes of a label that overlap so much are one object's; the embedded detector's own bound.
SAME = 0.6


class Grid(NamedTuple):
    """`columns` by `rows` tiles; 1 by 1 is the whole frame alone."""

    columns: int
    rows: int

    @classmethod
    def of(cls, text: str) -> Grid:
        """From `<columns>x<rows>`, as `shared.contract.cameras.TILES` has it."""
        columns, rows = text.split("x")
        return cls(int(columns), int(rows))

    @property
    def views(self) -> int:
        """Images that a frame makes."""
        return 1 if self == (1, 1) else 1 + self.columns * self.rows

    def canvas(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """(width, height) to scale a frame to, for tiles of `size`; None: as it is."""
        return size and (round(size[0] / _share(self.columns)), round(size[1] / _share(self.rows)))

    def tiles(self) -> list[Box]:
        """Where each tile lies in the frame, in shares of it: x1, y1, x2, y2."""
        return [(x, y, x + w, y + h) for y, h in _spans(self.rows) for x, w in _spans(self.columns)]

    def images(self, pixels: Image, size: tuple[int, int] | None) -> list[Image]:
        """What the detector is to look at. pixels: of `canvas(size)`. size: of every image, None for any."""
        if self.views == 1:
            return [pixels]
        height, width = pixels.shape[:2]
        w, h = size or (round(width * _share(self.columns)), round(height * _share(self.rows)))
        corners = (
            (min(round(x * width), width - w), min(round(y * height), height - h)) for x, y, _, _ in self.tiles()
        )
        whole = resize(pixels, size) if size else pixels
        return [whole, *(np.ascontiguousarray(pixels[y : y + h, x : x + w]) for x, y in corners)]

    def join(self, found: Sequence[list[Detection]]) -> list[Detection]:
        """Objects of the frame, best first. found: in each of its images, as `images` gave them."""
        whole, *tiles = found
        if not tiles:
            return whole
        most = [LARGE * OVERLAP * share if share < 1 else 1.0 for share in map(_share, self)]
        objects = [o for o in whole if o.box[2] - o.box[0] > most[0] or o.box[3] - o.box[1] > most[1]]
        doubtful: list[Detection] = []
        for tile, inside in zip(self.tiles(), tiles, strict=True):
            for o in inside:
                if not _may_be_cut(o.box, tile, EDGE):
                    (doubtful if _may_be_cut(o.box, tile, NEAR_EDGE) else objects).extend(_placed(o, tile))
        doubtful = [part for part in doubtful if not any(_is_part(part, o) for o in (*objects, *doubtful))]
        return list(_distinct(sorted((*objects, *doubtful), key=lambda o: -o.score)))


def _share(tiles: int) -> float:
    """Of the frame's side, a tile's where `tiles` lie side by side."""
    return 1 / (1 + (tiles - 1) * (1 - OVERLAP))


def _spans(tiles: int) -> list[tuple[float, float]]:
    """(begin, length) of each tile along one side."""
    share = _share(tiles)
    return [(i * (1 - OVERLAP) * share, share) for i in range(tiles)]


def _may_be_cut(box: Box, tile: Box, near: float) -> bool:
    """Whether the box ends so near to an edge of the tile that is none of the frame's. box: in shares of the tile."""
    ends = (box[0], box[1], 1 - box[2], 1 - box[3])
    inner = (tile[0] > EDGE, tile[1] > EDGE, tile[2] < 1 - EDGE, tile[3] < 1 - EDGE)
    return any(end < near and is_inner for end, is_inner in zip(ends, inner, strict=True))


def _is_part(part: Detection, whole: Detection) -> bool:
    """Whether `part` is what a tile saw of `whole`."""
    if part.label != whole.label or part.score > 2 * whole.score:
        return False
    a, b = part.box, whole.box
    area = (a[2] - a[0]) * (a[3] - a[1])
    if area >= (b[2] - b[0]) * (b[3] - b[1]):
        return False
    return (min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1])) >= INSIDE * area


def _placed(found: Detection, tile: Box) -> list[Detection]:
    """From shares of the tile to shares of the frame. None where nothing is left of it once rounded."""
    x, y, w, h = tile[0], tile[1], tile[2] - tile[0], tile[3] - tile[1]
    x1, y1, x2, y2 = found.box
    return detections([found.label], [0], [found.score], [(x + x1 * w, y + y1 * h, x + x2 * w, y + y2 * h)])


def _distinct(objects: Sequence[Detection]) -> Iterator[Detection]:
    """Without those that overlap a better one of the same label: greedy NMS. objects: best first."""
    boxes = np.array([o.box for o in objects]).reshape(-1, 4)
    labels = np.array([o.label for o in objects])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.ones(len(objects), bool)
    for i, best in enumerate(objects):
        if left[i]:
            yield best
            low, high = np.maximum(boxes[:, :2], best.box[:2]), np.minimum(boxes[:, 2:], best.box[2:])
            common = np.clip(high - low, 0, None).prod(axis=1)
            left &= (labels != best.label) | (common <= SAME * (area + area[i] - common))
