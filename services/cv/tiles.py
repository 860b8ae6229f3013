"""Finds small objects: detects in the whole frame and in overlapping tiles, and joins the results.

    grid = Grid.of("2x1")                                   # two columns, one row
    images = grid.images(pixels, detector.size)             # the whole frame first, then its tiles, row by row
    objects = grid.join(detector.detect(images))

A person a fiftieth of a frame wide has six of the detector's 300 pixels; in a tile, more. An object no larger than the
overlap of two tiles is whole in one of them, so cut objects of a tile are dropped. Larger objects are taken from the
whole frame as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from services.cv.detectors import Detection, detections
from shared.contract.events import Box
from shared.video.decode import Image
from shared.video.pictures import resize

# Shares, chosen on the footage of docs/explanation/tracking.md.

# Two tiles share this much of a tile's side. Less enlarges more, and leaves more objects to the whole frame.
OVERLAP_SHARE = 0.15
# A box is cut off if it ends within this share of a tile's side from an inner edge: 3 of 300 pixels.
EDGE_SHARE = 0.01
# A box may be cut off if it ends within this share from an inner edge: 15 of 300 pixels.
NEAR_EDGE_SHARE = 0.05
# A box that may be cut off is a part of an object whose box has this share of its area.
INSIDE_SHARE = 0.8
# Objects larger than this share of the overlap come from the whole frame: boxes jitter, so both tiles may cut.
LARGE_SHARE = 0.75
# Two boxes of one label are of one object if they overlap by this IoU, which is the embedded detector's bound.
SAME_IOU = 0.6


class Grid(NamedTuple):
    """The tiles of a frame, `columns` by `rows`. 1 by 1 is only the whole frame."""

    columns: int
    rows: int

    @classmethod
    def of(cls, text: str) -> Grid:
        """Parse `<columns>x<rows>`: see `shared.contract.cameras.TILES`."""
        columns, rows = text.split("x")
        return cls(int(columns), int(rows))

    @property
    def views(self) -> int:
        """The number of images per frame."""
        return 1 if self == (1, 1) else 1 + self.columns * self.rows

    def canvas(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the (width, height) to scale a frame to, for tiles of `size`; None leaves it unscaled."""
        return size and (round(size[0] / _share(self.columns)), round(size[1] / _share(self.rows)))

    def tiles(self) -> list[Box]:
        """Return the box of each tile: x1, y1, x2, y2 in shares of the frame."""
        return [(x, y, x + w, y + h) for y, h in _spans(self.rows) for x, w in _spans(self.columns)]

    def images(self, pixels: Image, size: tuple[int, int] | None) -> list[Image]:
        """Return the detector's images. pixels: a frame, scaled to `canvas(size)`. size: of each, None for any."""
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
        """Return the objects of a frame, best first. found: those of each of its images, in the order of `images`."""
        whole, *tiles = found
        if not tiles:
            return whole
        most = [LARGE_SHARE * OVERLAP_SHARE * share if share < 1 else 1.0 for share in map(_share, self)]
        objects = [o for o in whole if o.box[2] - o.box[0] > most[0] or o.box[3] - o.box[1] > most[1]]
        doubtful: list[Detection] = []
        for tile, inside in zip(self.tiles(), tiles, strict=True):
            for o in inside:
                if not _may_be_cut(o.box, tile, EDGE_SHARE):
                    (doubtful if _may_be_cut(o.box, tile, NEAR_EDGE_SHARE) else objects).extend(_placed(o, tile))
        doubtful = [part for part in doubtful if not any(_is_part(part, o) for o in (*objects, *doubtful))]
        return list(_distinct(sorted((*objects, *doubtful), key=lambda o: -o.score)))


def _share(tiles: int) -> float:
    """Return a tile's share of the frame's side, for `tiles` side by side."""
    return 1 / (1 + (tiles - 1) * (1 - OVERLAP_SHARE))


def _spans(tiles: int) -> list[tuple[float, float]]:
    """Return (begin, length) of each tile along one side, in shares of it."""
    share = _share(tiles)
    return [(i * (1 - OVERLAP_SHARE) * share, share) for i in range(tiles)]


def _may_be_cut(box: Box, tile: Box, near: float) -> bool:
    """Whether a box, in shares of its tile, ends within `near` of an edge of the tile that is not the frame's own."""
    ends = (box[0], box[1], 1 - box[2], 1 - box[3])
    inner = (tile[0] > EDGE_SHARE, tile[1] > EDGE_SHARE, tile[2] < 1 - EDGE_SHARE, tile[3] < 1 - EDGE_SHARE)
    return any(end < near and is_inner for end, is_inner in zip(ends, inner, strict=True))


def _is_part(part: Detection, whole: Detection) -> bool:
    """Whether `part` is a tile's view of `whole`."""
    if part.label != whole.label or part.score > 2 * whole.score:
        return False
    a, b = part.box, whole.box
    area = (a[2] - a[0]) * (a[3] - a[1])
    if area >= (b[2] - b[0]) * (b[3] - b[1]):
        return False
    return (min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1])) >= INSIDE_SHARE * area


def _placed(found: Detection, tile: Box) -> list[Detection]:
    """Return the object in shares of the frame, not its tile. Empty if rounding leaves nothing of it."""
    x, y, w, h = tile[0], tile[1], tile[2] - tile[0], tile[3] - tile[1]
    x1, y1, x2, y2 = found.box
    return detections([found.label], [0], [found.score], [(x + x1 * w, y + y1 * h, x + x2 * w, y + y2 * h)])


def _distinct(objects: Sequence[Detection]) -> Iterator[Detection]:
    """Greedy NMS: yield the objects, best first, without those that overlap a better one of the same label."""
    boxes = np.array([o.box for o in objects]).reshape(-1, 4)
    labels = np.array([o.label for o in objects])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.ones(len(objects), bool)
    for i, best in enumerate(objects):
        if left[i]:
            yield best
            low, high = np.maximum(boxes[:, :2], best.box[:2]), np.minimum(boxes[:, 2:], best.box[2:])
            common = np.clip(high - low, 0, None).prod(axis=1)
            left &= (labels != best.label) | (common <= SAME_IOU * (area + area[i] - common))
