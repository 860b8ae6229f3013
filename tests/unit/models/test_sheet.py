"""A contact sheet: each frame in its place, with its boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidegate.models.sheet import COUNT, PLACE, sheet, spread


def test_each_frame_has_its_place_and_its_boxes() -> None:
    frames = [(np.full((360, 640, 3), 30 * n, np.uint8), [(0.25, 0.25, 0.75, 0.75)]) for n in range(COUNT)]
    page = sheet(frames)
    width, height = PLACE
    assert page.shape == (2 * height, 3 * width, 3)
    for n in range(COUNT):
        top, left = n // 3 * height, n % 3 * width
        assert abs(int(page[top + 20, left + 20, 0]) - 30 * n) <= 2
        # The colour of outlines has no blue.
        assert page[top + 90, left + 320, 0] > 200 and page[top + 90, left + 320, 2] < 60


def test_a_tall_frame_is_whole_and_missing_frames_leave_their_places_empty() -> None:
    page = sheet([(np.full((640, 360, 3), 250, np.uint8), [])])
    width, height = PLACE
    assert page[0, width // 2, 0] > 240 and page[height - 1, width // 2, 0] > 240
    assert page[:height, 0].max() < 60 and page[height:].max() < 60


@given(st.integers(1, 20), st.integers(0, 200))
def test_a_spread_is_even_and_has_both_ends(count: int, of: int) -> None:
    chosen = spread(count, of)
    assert len(chosen) == len(set(chosen)) <= min(count, of)
    assert all(0 <= n < of for n in chosen)
    if of and count > 1:
        assert chosen[0] == 0 and chosen[-1] == of - 1
