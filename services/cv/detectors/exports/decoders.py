"""Decoders: a model's output arrays to candidates. Pure, in numpy.

    decode = dense(0, transposed=True)
    found = decode([output], least=0.3)        # Candidates, overlapping ones among them
    best = without_overlaps(found, iou=0.7)

Each has a batch of one. A decoder returns boxes x1, y1, x2, y2 in the units of its model: pixels of the input, or
shares of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
# At most this many candidates enter the suppression of overlaps, best first.
MOST = 3000
# The number of them whose overlaps are computed together.
_BLOCK = 128


class Candidates(NamedTuple):
    """boxes: (n, 4), x1, y1, x2, y2. scores: (n,). ids: (n,), of classes."""

    boxes: Floats
    scores: Floats
    ids: NDArray[np.integer[Any]]


Outputs = Sequence[Floats]
Decoder = Callable[[Outputs, float], Candidates]


def dense(
    output: int = 0, *, columns_first: bool, objectness: bool = False, corners: bool = False, several: bool = False
) -> Decoder:
    """Decode one array of boxes and class scores for each cell of a grid.

    columns_first: (4 + classes, cells) instead of (cells, 4 + classes). objectness: a score of the box comes before
    those of the classes, and multiplies them. corners: boxes are x1, y1, x2, y2, not centre and size. several: a cell
    may be several objects, not its best class alone.
    """

    def decode(outputs: Outputs, least: float) -> Candidates:
        array = outputs[output].reshape(outputs[output].shape[-2:])
        columns = array if columns_first else array.T
        scores = columns[4 + objectness :]
        if objectness:
            # A product is below `least` where one factor is: most cells end here.
            columns = columns[:, columns[4] >= least]
            scores = columns[5:] * columns[4]
        return _of_classes(columns[:4].T, scores, least, corners=corners, several=several)

    return decode


def pair(boxes: int, scores: int, *, classes_first: bool, several: bool = False) -> Decoder:
    """Decode an array of boxes (cells, 4) and one of class scores: (classes, cells) or (cells, classes)."""

    def decode(outputs: Outputs, least: float) -> Candidates:
        columns = outputs[scores].reshape(outputs[scores].shape[-2:])
        columns = columns if classes_first else columns.T
        return _of_classes(outputs[boxes].reshape(-1, 4), columns, least, corners=True, several=several)

    return decode


def queries(boxes: int, logits: int, *, classes: int, softmax: bool) -> Decoder:
    """Decode the queries of a DETR: boxes (queries, 4), centre and size, and logits (queries, at least `classes`).

    softmax: over the classes and "no object", which is the last one. Otherwise a sigmoid of each: a query may then be
    several objects.
    """

    def decode(outputs: Outputs, least: float) -> Candidates:
        values = outputs[logits].reshape(outputs[logits].shape[-2:]).astype(np.float32)
        if softmax:
            exponents = np.exp(values - values.max(axis=1, keepdims=True))
            scores = (exponents / exponents.sum(axis=1, keepdims=True))[:, :classes]
            ids = scores.argmax(axis=1)
            rows = np.flatnonzero(scores.max(axis=1) >= least)
            ids = ids[rows]
        else:
            scores = 1 / (1 + np.exp(-values[:, :classes]))
            rows, ids = np.nonzero(scores >= least)
        return Candidates(from_centres(outputs[boxes].reshape(-1, 4)[rows]), scores[rows, ids], ids)

    return decode


def rows(output: int = 0, *, box: slice, score: int, id: int, corners: bool = True) -> Decoder:
    """Decode rows of finished objects. The arguments are the columns of each. Ids that are no integers become -1."""

    def decode(outputs: Outputs, least: float) -> Candidates:
        array = outputs[output].reshape(-1, outputs[output].shape[-1])
        array = array[array[:, score] >= least]
        ids = np.where(array[:, id] == np.rint(array[:, id]), array[:, id], -1).astype(np.int64)
        return Candidates(array[:, box] if corners else from_centres(array[:, box]), array[:, score], ids)

    return decode


def detection_output(outputs: Outputs, least: float) -> Candidates:
    """Decode rows (image, id, score, x1, y1, x2, y2). An image below 0 ends the list."""
    array = outputs[0].reshape(-1, 7)
    array = array[np.cumprod(array[:, 0] >= 0).astype(bool)]
    return rows(box=slice(3, 7), score=2, id=1)([array], least)


def separate(
    boxes: int, scores: int, ids: int, *, count: int | None = None, order: Sequence[int] = (0, 1, 2, 3)
) -> Decoder:
    """Decode arrays of finished objects. count: the output with their number. order: of x1, y1, x2, y2 in a box."""

    def decode(outputs: Outputs, least: float) -> Candidates:
        end = None if count is None else int(outputs[count].reshape(-1)[0])
        found = outputs[scores].reshape(-1)[:end]
        keep = found >= least
        corners = outputs[boxes].reshape(-1, 4)[:end][keep][:, list(order)]
        return Candidates(corners, found[keep], outputs[ids].reshape(-1)[:end][keep].astype(np.int64))

    return decode


def distributions(size: tuple[int, int], strides: Sequence[int], classes: int) -> Decoder:
    """Decode NanoDet's array: class scores, then the distribution of the distance to each side, in strides."""
    cells = grid(size, strides)

    def decode(outputs: Outputs, least: float) -> Candidates:
        array = outputs[0].reshape(len(cells), -1)
        scores = array[:, :classes].max(axis=1)
        keep = scores >= least
        sides = array[keep, classes:].reshape(keep.sum(), 4, (array.shape[1] - classes) // 4)
        exponents = np.exp(sides - sides.max(axis=2, keepdims=True))
        shares = exponents / exponents.sum(axis=2, keepdims=True)
        x, y, stride = (cells[keep, axis] for axis in range(3))
        distances = (shares @ np.arange(sides.shape[2])) * stride[:, None]
        left, top, right, bottom = (distances[:, side] for side in range(4))
        boxes = np.stack([x * stride - left, y * stride - top, x * stride + right, y * stride + bottom], axis=1)
        return Candidates(boxes, scores[keep], array[keep, :classes].argmax(axis=1))

    return decode


def of_grid(size: tuple[int, int], strides: Sequence[int]) -> Callable[[Outputs], Outputs]:
    """Return the conversion of YOLOX's raw boxes: offsets from a cell, and logarithms of sizes, in strides."""
    x, y, stride = (grid(size, strides)[:, axis] for axis in range(3))

    def convert(outputs: Outputs) -> Outputs:
        array = outputs[0].reshape(outputs[0].shape[-2:]).copy()
        array[:, 0], array[:, 1] = (array[:, 0] + x) * stride, (array[:, 1] + y) * stride
        array[:, 2:4] = np.exp(np.minimum(array[:, 2:4], 20)) * stride[:, None]
        return [array]

    return convert


def grid(size: tuple[int, int], strides: Sequence[int]) -> NDArray[np.float32]:
    """Return (column, row, stride) of each cell, as (cells, 3). size: (width, height) of the input."""
    parts = []
    for stride in strides:
        columns, lines = size[0] // stride, size[1] // stride
        y, x = np.divmod(np.arange(columns * lines), columns)
        parts.append(np.stack([x, y, np.full_like(x, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def from_centres(boxes: Floats) -> Floats:
    """Convert boxes from centre and size to corners."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def without_overlaps(found: Candidates, iou: float) -> Candidates:
    """Return the candidates, best first, without those that overlap a better one of their class by more than `iou`."""
    order = np.argsort(-found.scores, kind="stable")[:MOST]
    boxes, ids = found.boxes[order], found.ids[order]
    x1, y1, x2, y2 = boxes.T
    area, left = (x2 - x1) * (y2 - y1), np.ones(len(order), bool)
    for start in range(0, len(order), _BLOCK):
        rows = start + np.flatnonzero(left[start : start + _BLOCK])
        width = np.minimum(x2[rows, None], x2[start:]) - np.maximum(x1[rows, None], x1[start:])
        height = np.minimum(y2[rows, None], y2[start:]) - np.maximum(y1[rows, None], y1[start:])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        overlaps = common > iou * (area[rows, None] + area[start:] - common)
        apart = ~overlaps | (ids[rows, None] != ids[start:])
        for row, others in zip(rows, apart, strict=True):
            # One that is suppressed suppresses none.
            if left[row]:
                left[row + 1 :] &= others[row + 1 - start :]
    chosen = order[left]
    return Candidates(found.boxes[chosen], found.scores[chosen], found.ids[chosen])


def _of_classes(boxes: Floats, scores: Floats, least: float, *, corners: bool, several: bool) -> Candidates:
    """Return each cell with its best class, or with each of at least `least`. scores: (classes, cells)."""
    best = scores.max(axis=0)
    keep = np.flatnonzero(best >= least)
    ids = scores[:, keep].argmax(axis=0)
    if several:
        ids, at = np.nonzero(scores[:, keep] >= least)
        keep = keep[at]
    chosen = boxes[keep]
    return Candidates(chosen if corners else from_centres(chosen), scores[ids, keep], ids)
