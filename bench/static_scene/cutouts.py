"""People and cars, cut out of the footage.

People are from vtest.avi, by the ground truth of bench/vtest, where they differ from the film's median: each walks
their real path over the real ground. The footage has only parked cars; one of these is animated.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from bench import footage_vtest as footage
from bench.static_scene import planes
from bench.static_scene.planes import Planes
from shared.contract.events import Box

# The film jumps between this frame and the next one.
_JUMP = 403
# Minimum and maximum frames of a walk.
LEAST, MOST = 50, 150
# A pixel belongs to a person if a channel differs from the ground by more than this.
_DIFFERS = 18
_MARGIN = 6
# The parked van at the upper right: its box, and the corners of its outline, in pixels.
_VAN = (648, 40, 724, 102)
_OUTLINE = ((653, 46), (700, 45), (722, 62), (722, 88), (712, 90), (700, 98), (662, 93), (653, 86))
# Its path down the road and out at the left: the middle of its lower edge, and its scale.
_PATH = ((700.0, 150.0, 1.8), (560.0, 280.0, 2.2), (-20.0, 300.0, 2.4))
CAR_S = 7.0


class Cutout(NamedTuple):
    """One visitor in one frame. at: (x, y) of its upper left corner, even numbers. box: as shares of the frame."""

    at: tuple[int, int]
    planes: Planes
    alpha: NDArray[np.float32]
    box: Box


class Walk(NamedTuple):
    """A visitor's path. label: the detector's. frames: consecutive, at the footage's rate."""

    label: str
    frames: list[Cutout]


@cache
def _film() -> list[NDArray[np.uint8]]:
    with av.open(str(footage.video())) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@cache
def ground() -> NDArray[np.uint8]:
    """Return the empty scene: the median of the film over time. RGB."""
    return np.asarray(np.median(np.stack(_film()[::12]), axis=0), np.uint8)


@cache
def walks() -> list[Walk]:
    """Return every person's walks through the picture, in pieces of `LEAST` to `MOST` frames."""
    where: dict[int, dict[int, Box]] = {}
    for k, people in footage.people().items():
        for person, box in people.items():
            where.setdefault(person, {})[k] = box
    found = []
    for boxes in where.values():
        for run in _runs(sorted(boxes)):
            for begin in range(0, len(run), MOST):
                piece = run[begin : begin + MOST]
                if len(piece) >= LEAST:
                    found.append(Walk("person", [_person(k, boxes[k]) for k in piece]))
    return found


def _runs(frames: list[int]) -> list[list[int]]:
    runs = [[frames[0]]]
    for a, b in pairwise(frames):
        if b != a + 1 or a == _JUMP:
            runs.append([])
        runs[-1].append(b)
    return runs


def _person(k: int, box: Box) -> Cutout:
    x1, y1, x2, y2 = (v * side for v, side in zip(box, (footage.WIDTH, footage.HEIGHT) * 2, strict=True))
    left, top = max(0, int(x1 - _MARGIN) // 2 * 2), max(0, int(y1 - _MARGIN) // 2 * 2)
    right, bottom = min(footage.WIDTH, int(x2 + _MARGIN)), min(footage.HEIGHT, int(y2 + _MARGIN))
    width, height = (right - left) // 2 * 2, (bottom - top) // 2 * 2
    part = np.s_[top : top + height, left : left + width]
    film = _film()[k][part]
    differs = np.abs(film.astype(np.int16) - ground()[part]).max(axis=2) > _DIFFERS
    return Cutout((left, top), planes.of(film), _soft(differs), box)


def _soft(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mask with closed holes and soft edges."""
    alpha = mask.astype(np.float32)
    for _ in range(2):
        padded = np.pad(alpha, 1)
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        alpha = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
        alpha = np.clip(alpha * 1.6, 0, 1)
    return alpha


@cache
def cars() -> list[Walk]:
    """Return the van driving down the road and, mirrored, up."""
    x1, y1, x2, y2 = _VAN
    rgb, inside = ground()[y1:y2, x1:x2], _inside(_OUTLINE, _VAN)
    share = np.linspace(0, 1, int(CAR_S * footage.FPS))
    path = np.stack([np.interp(share, (0, 0.25, 1), legs) for legs in zip(*_PATH, strict=True)], axis=1)
    down = [_car(rgb, inside, *place) for place in path]
    up = [_car(rgb[:, ::-1], inside[:, ::-1], *place) for place in path[::-1]]
    return [Walk("car", down), Walk("car", up)]


def _car(rgb: NDArray[np.uint8], inside: NDArray[np.bool_], x: float, y: float, scale: float) -> Cutout:
    """Return the van with the middle of its lower edge at (x, y), clipped at the picture's left edge."""
    width, height = (round(side * scale / 2) * 2 for side in (rgb.shape[1], rgb.shape[0]))
    left, top = round((x - width / 2) / 2) * 2, round((y - height) / 2) * 2
    rows, columns = (np.arange(height) / scale).astype(int), (np.arange(width) / scale).astype(int)
    seen = inside[rows.clip(0, len(inside) - 1)][:, columns.clip(0, inside.shape[1] - 1)]
    hidden = max(0, -left)
    picture = planes.of(rgb, (width, height)).cut(hidden, 0, width - hidden, height)
    alpha, left = _soft(seen)[:, hidden:], left + hidden
    right, bottom = left + alpha.shape[1], top + height
    box = (left / footage.WIDTH, top / footage.HEIGHT, right / footage.WIDTH, bottom / footage.HEIGHT)
    return Cutout((left, top), picture, alpha, box)


def _inside(corners: tuple[tuple[int, int], ...], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Return which pixels of a box are inside an outline, by the even-odd rule."""
    y, x = np.mgrid[box[1] : box[3], box[0] : box[2]]
    found = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if ay != by:
            found ^= ((ay > y) != (by > y)) & (x < ax + (bx - ax) * (y - ay) / (by - ay))
    return found
