"""A frame in tiles: each object once and where it is, whatever its size and place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.cv.detectors import Detection, detections
from services.cv.tiles import OVERLAP_SHARE, Grid
from shared.contract.events import Box

grids = st.builds(Grid, st.integers(1, 4), st.integers(1, 4))
# As small as a sign far away, as large as a truck at the gate.
sides = st.floats(0.01, 0.98)
# What ends where the frame does is not cut off, though the last tile's end may come out as a little less.
ROUNDED = 1e-9


@st.composite
def places(draw: st.DrawFn) -> Box:
    w, h = draw(sides), draw(sides)
    x, y = draw(st.floats(0, 1 - w)), draw(st.floats(0, 1 - h))
    return x, y, x + w, y + h


def seen(objects: list[tuple[str, Box]], part: Box, short: float) -> list[Detection]:
    """What a detector without fault finds in a part of the frame: of what is cut off the rest, and that too `short`."""
    x, y, w, h = part[0], part[1], part[2] - part[0], part[3] - part[1]
    boxes = []
    for _, b in objects:
        inside = ((b[0] - x) / w, (b[1] - y) / h, (b[2] - x) / w, (b[3] - y) / h)
        begin = (short if v < -ROUNDED else v for v in inside[:2])
        boxes.append((*begin, *(1 - short if v > 1 + ROUNDED else v for v in inside[2:])))
    return detections([label for label, _ in objects], range(len(objects)), [0.9] * len(objects), boxes)


@given(grids, st.lists(places(), max_size=8), st.floats(0, 0.04))
@example(Grid(2, 1), [(0.94, 0.0, 1.0, 0.5)], 0.03125)
def test_each_object_is_found_once_at_its_place(grid: Grid, boxes: list[Box], short: float) -> None:
    """This holds also if a box ends before the edge that cuts its object off."""
    objects = [(str(n), box) for n, box in enumerate(boxes)]
    parts = [(0.0, 0.0, 1.0, 1.0), *grid.tiles()] if grid.views > 1 else [(0.0, 0.0, 1.0, 1.0)]
    found = grid.join([seen(objects, part, short) for part in parts])
    assert sorted(o.label for o in found) == sorted(label for label, _ in objects)
    for o in found:
        assert o.box == pytest.approx(boxes[int(o.label)], abs=2e-4)


def test_small_objects_come_from_the_tiles_only() -> None:
    """The box of the whole frame is worse, and two boxes of one object are two objects to a tracker."""
    grid = Grid(2, 1)
    small = Detection(label="person", score=0.9, box=(0.2, 0.4, 0.24, 0.6))
    large = Detection(label="truck", score=0.9, box=(0.3, 0.3, 0.8, 0.9))
    assert grid.join([[small, large], [], []]) == [large]


def test_the_better_of_two_boxes_of_one_object_stays() -> None:
    """Both overlapping tiles find the person, at slightly different places."""
    grid = Grid(2, 1)
    (begin, _, left_end, _), (right, _, _, _) = grid.tiles()
    width = left_end - begin
    middle = (right + left_end) / 2

    def inside(tile: float, shift: float, score: float, label: str) -> Detection:
        x = (middle - 0.01 + shift - tile) / width
        return Detection(label=label, score=score, box=(x, 0.4, x + 0.02 / width, 0.6))

    found = grid.join(
        [
            [],
            [inside(begin, 0, 0.6, "person"), inside(begin, 0, 0.5, "bicycle")],
            [inside(right, 0.002, 0.8, "person")],
        ]
    )
    assert [(o.label, o.score) for o in found] == [("person", 0.8), ("bicycle", 0.5)]


@given(grids.filter(lambda grid: grid.views > 1), st.integers(20, 90), st.integers(20, 90), st.booleans())
def test_images_match_their_tiles(grid: Grid, width: int, height: int, fixed: bool) -> None:
    size = (width, height) if fixed else None
    across, down = grid.canvas(size) or (width * grid.columns, height * grid.rows)
    pixels = np.zeros((down, across, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(across) * 256 // across, (np.arange(down) * 256 // down)[:, None]
    whole, *tiles = grid.images(pixels, size)
    assert len(tiles) == grid.views - 1
    for image, (x1, y1, x2, y2) in zip(tiles, grid.tiles(), strict=True):
        if size:
            assert image.shape == whole.shape == (height, width, 3)
        # Two pixels of the picture: what rounding to whole ones may cost at both ends.
        for reply, corner in ((x1, image[0, 0, 0]), (x2, image[0, -1, 0])):
            assert corner / 256 == pytest.approx(reply, abs=2 / across + 1 / 256)
        for reply, corner in ((y1, image[0, 0, 1]), (y2, image[-1, 0, 1])):
            assert corner / 256 == pytest.approx(reply, abs=2 / down + 1 / 256)


@given(grids)
def test_tiles_cover_the_frame_and_overlap(grid: Grid) -> None:
    tiles = grid.tiles()
    assert (tiles[0][:2], tiles[-1][2:]) == (pytest.approx((0, 0)), pytest.approx((1, 1)))
    for left, right in pairwise(tiles):
        if left[1] == right[1]:
            assert left[2] - right[0] == pytest.approx(OVERLAP_SHARE * (left[2] - left[0]))


def test_one_tile_is_the_whole_frame() -> None:
    pixels = np.zeros((9, 16, 3), np.uint8)
    grid = Grid.of("1x1")
    assert grid.canvas((300, 300)) == (300, 300)
    assert grid.images(pixels, None) == [pixels]
    both = [Detection(label="person", score=s, box=(0.1, 0.1, 0.2, 0.2)) for s in (0.9, 0.8)]
    assert grid.join([both]) == both
