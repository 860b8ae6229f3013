"""The contact sheet of two detectors: each box in the colour of its detector, thick where only one has it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.events import Box, DetectedObject
from shared.video.decode import Image
from tidegate.models.agreement import compare
from tidegate.models.differences import COLOUR_A, COLOUR_B, HEAD, differences
from tidegate.models.sheet import COLUMNS, COUNT, PLACE, ROWS

GREY = np.full((360, 640, 3), 90, np.uint8)
LEFT, RIGHT = (0.1, 0.2, 0.4, 0.8), (0.6, 0.2, 0.9, 0.8)


def found(box: Box) -> DetectedObject:
    return DetectedObject(label="person", score=0.9, box=box)


def count(page: Image, colour: tuple[int, int, int]) -> int:
    return int((page == np.array(colour, np.uint8)).all(axis=2).sum())


def test_a_box_of_one_detector_is_thick_and_one_of_both_is_thin() -> None:
    empty = differences([(GREY, compare([], [], size=PLACE))])
    single = differences([(GREY, compare([found(LEFT)], [found(RIGHT)], size=PLACE))])
    both = differences([(GREY, compare([found(LEFT)], [found((0.1, 0.2, 0.41, 0.81))], size=PLACE))])
    for colour in (COLOUR_A, COLOUR_B):
        drawn = [count(page, colour) - count(empty, colour) for page in (single, both)]
        assert drawn[0] > 2 * drawn[1] > 0


def test_equal_boxes_of_both_detectors_show_both_colours() -> None:
    empty = differences([(GREY, compare([], [], size=PLACE))])
    other = DetectedObject(label="car", score=0.9, box=LEFT)
    for b in (found(LEFT), other):
        page = differences([(GREY, compare([found(LEFT)], [b], size=PLACE))])
        assert all(count(page, colour) > count(empty, colour) + 500 for colour in (COLOUR_A, COLOUR_B))


def test_a_page_has_a_legend_and_a_place_for_each_frame() -> None:
    page = differences([(GREY, compare([], [], size=PLACE))] * (COUNT + 2))
    width, height = PLACE
    assert page.shape == (HEAD + ROWS * height, COLUMNS * width, 3)
    assert count(page[:HEAD], COLOUR_A) > 100 and count(page[:HEAD], COLOUR_B) > 100
    centres = page[HEAD + height // 2 :: height, width // 2 :: width]
    assert (abs(centres.astype(int) - 90) <= 2).all()


@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5),
    st.tuples(st.integers(8, 700), st.integers(8, 700)),
)
def test_boxes_at_any_edge_of_any_frame_are_drawn(corners: list[Box], size: tuple[int, int]) -> None:
    boxes = [(min(x, u), min(y, v), max(x, u), max(y, v)) for x, y, u, v in corners]
    frame = compare(map(found, boxes), map(found, boxes[::2]), size=size)
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    assert differences([(image, frame)]).dtype == np.uint8
