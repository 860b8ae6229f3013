"""A contact sheet of frames with the boxes of two detectors, A's blue and B's orange. Pure.

Example:
    page = differences([(image, frame_agreement), ...])         # uint8 (760, 1920, 3)

Boxes of agreed objects are thin. Where the detectors differ, boxes are thick with a letter, for people who do not see
the colours. Each frame has its number, and the head of the page shows which colour is whose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.contract.events import Box
from shared.video.decode import Image, fitted
from shared.video.pictures import resize
from tidegate.models.agreement import FrameAgreement
from tidegate.models.sheet import COLUMNS, COUNT, PLACE, ROWS

Colour = tuple[int, int, int]
# Two of Okabe and Ito's colours, which people with any kind of colour blindness distinguish.
COLOUR_A: Colour = (86, 180, 233)
COLOUR_B: Colour = (230, 159, 0)
_COLOURS = {"A": COLOUR_A, "B": COLOUR_B}
HEAD = 40
_GREY, _BLACK = 40, (0, 0, 0)
_THIN, _THICK = 1, 4
# Pixels of a page for one of a glyph.
_DOT = 3
# Glyphs of 5x7, a number of five bits for each row: frames come without a font.
_GLYPHS = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
}
_WHITE: Colour = (255, 255, 255)


def differences(frames: Sequence[tuple[Image, FrameAgreement]]) -> Image:
    """Return a page with at most COUNT frames, each fitted into its place, below the legend."""
    width, height = PLACE
    page = np.full((HEAD + ROWS * height, COLUMNS * width, 3), _GREY, np.uint8)
    _legend(page)
    for n, (image, agreement) in enumerate(frames[:COUNT]):
        size = fitted((image.shape[1], image.shape[0]), PLACE)
        top = HEAD + n // COLUMNS * height + (height - size[1]) // 2
        left = n % COLUMNS * width + (width - size[0]) // 2
        place = page[top : top + size[1], left : left + size[0]]
        place[:] = resize(image, size)
        _draw(place, agreement)
        _tag(place, 0, 0, str(n + 1), _WHITE)
    return page


def _legend(page: Image) -> None:
    """Draw an example of a box of each, with its letter."""
    for left, letter, colour in ((8, "A", COLOUR_A), (108, "B", COLOUR_B)):
        _fill(page[7 : HEAD - 6, left : left + 60], colour)
        _tag(page, left + 60, 7, letter, colour)


def _draw(place: Image, agreement: FrameAgreement) -> None:
    """Draw what both find first, so that differences lie above it. Of a pair, B's outline is within A's."""
    for pair in agreement.agreed:
        _outline(place, pair.a.box, COLOUR_A, _THIN)
        _outline(place, pair.b.box, COLOUR_B, _THIN, inset=_THIN)
    singles = [
        *((o.box, "A", 0) for o in agreement.only_a),
        *((o.box, "B", 0) for o in agreement.only_b),
        *((pair.a.box, "A", 0) for pair in agreement.other_class),
        *((pair.b.box, "B", _THICK) for pair in agreement.other_class),
    ]
    corners = [_outline(place, box, _COLOURS[letter], _THICK, inset=inset) for box, letter, inset in singles]
    for (left, top), (_, letter, _) in zip(corners, singles, strict=True):
        # The letters of two boxes in one place do not cover each other.
        _tag(place, left + (0 if letter == "A" else 7 * _DOT), top, letter, _COLOURS[letter])


def _outline(place: Image, box: Box, colour: Colour, line: int, *, inset: int = 0) -> tuple[int, int]:
    """Draw the outline of a box into the picture, `inset` pixels within. Return its (left, top) in pixels."""
    height, width = place.shape[:2]
    left, right = (round(x * (width - 1)) for x in (box[0], box[2]))
    top, bottom = (round(y * (height - 1)) for y in (box[1], box[3]))
    if min(right - left, bottom - top) > 4 * inset:
        left, top, right, bottom = left + inset, top + inset, right - inset, bottom - inset
    for rows, columns in (
        (slice(top, min(top + line, bottom + 1)), slice(left, right + 1)),
        (slice(max(top, bottom + 1 - line), bottom + 1), slice(left, right + 1)),
        (slice(top, bottom + 1), slice(left, min(left + line, right + 1))),
        (slice(top, bottom + 1), slice(max(left, right + 1 - line), right + 1)),
    ):
        _fill(place[rows, columns], colour)
    return left, top


def _tag(place: Image, left: int, top: int, glyph: str, colour: Colour) -> None:
    """Draw a letter on a ground of `colour`, within the picture."""
    rows = np.array([[row >> (4 - bit) & 1 for bit in range(5)] for row in _GLYPHS[glyph]], bool)
    dots = np.pad(np.kron(rows, np.ones((_DOT, _DOT), bool)), _DOT)
    top = max(0, min(top, place.shape[0] - dots.shape[0]))
    left = max(0, min(left, place.shape[1] - dots.shape[1]))
    ground = place[top : top + dots.shape[0], left : left + dots.shape[1]]
    _fill(ground, colour)
    ground[dots[: ground.shape[0], : ground.shape[1]]] = _BLACK


def _fill(pixels: Image, colour: Colour) -> None:
    pixels[:] = colour
