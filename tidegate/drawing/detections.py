"""A frame with its detections drawn into it, and an overview of several such frames above a plot."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.contract.events import DetectedObject

WIDTH = 960
# Distinct colours, dark enough for white text.
COLOURS = ("#d1495b", "#00798c", "#b8711f", "#30638e", "#5a8f29", "#7b4b94", "#c2410c", "#0f766e", "#a21caf", "#4d5966")
INK, PAPER, MARGIN = "#1f2933", "#ffffff", 12


def annotated(pixels: NDArray[np.uint8], objects: Sequence[DetectedObject], caption: str) -> Image.Image:
    """Return the frame, 960 pixels wide, with boxes, labels and a caption. pixels: RGB, uint8, (height, width, 3)."""
    image = Image.fromarray(pixels)
    image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    font = _font(22, bold=True)
    # The highest score is drawn last, on top.
    for found in sorted(objects, key=lambda o: o.score):
        x1, y1, x2, y2 = (round(v * size) for v, size in zip(found.box, image.size * 2, strict=True))
        colour = colour_of(found.label)
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=3)
        _label(draw, (x1, y1), f"{found.label} {found.score:.0%}", font, colour, image.size)
    return _captioned(image, caption)


def overview(pictures: Sequence[Image.Image], plot: Path, path: Path) -> None:
    """Write one picture: the frames in a row of equal height, with the plot below."""
    below = Image.open(plot).convert("RGB")
    room = below.width - MARGIN * (len(pictures) + 1)
    height = min(below.height // 2, round(room / max(1.0, sum(p.width / p.height for p in pictures))))
    top = height + 2 * MARGIN if pictures else 0
    sheet = Image.new("RGB", (below.width, top + below.height), PAPER)
    x = MARGIN
    for picture in pictures:
        width = round(picture.width * height / picture.height)
        sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (x, MARGIN))
        x += width + MARGIN
    sheet.paste(below, (0, top))
    # A palette of 256 colours takes a third of the bytes.
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def colour_of(label: str) -> str:
    """Return the colour of a label, the same in every picture."""
    return COLOURS[zlib.crc32(label.encode()) % len(COLOURS)]


def _label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: str,
    size: tuple[int, int],
) -> None:
    """Draw the label above the box, or inside it at the top edge; always within the frame."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 10, bottom - top + 8
    x = min(max(0, corner[0]), max(0, size[0] - int(width)))
    y = corner[1] - int(height) if corner[1] >= height else max(0, corner[1])
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 5 - left, y + 4 - top), text, font=font, fill="white")


def _captioned(image: Image.Image, caption: str) -> Image.Image:
    font = _font(19)
    sheet = Image.new("RGB", (image.width, image.height + 34), INK)
    sheet.paste(image, (0, 0))
    ImageDraw.Draw(sheet).text((12, image.height + 17), caption, font=font, fill="white", anchor="lm")
    return sheet


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu from matplotlib: the system may have no fonts."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
