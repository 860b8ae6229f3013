"""A camera's rules and tracks, drawn into a frame. Pure, except for fonts."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.contract.rules import Crossing, Rules

COLOURS = ("#e6443c", "#1fa3c7", "#e8a13a", "#5b8def", "#7fbf4d", "#b07cd8", "#f0803c", "#2bb3a3", "#d65db1", "#8d99ae")
ZONE, MASK, LINE, SHADOW = (255, 196, 0), (20, 20, 20), (0, 220, 255), (0, 0, 0)
# Text size as a share of the frame's height.
TEXT = 1 / 32

Pixels = NDArray[np.uint8]


def draw_rules(pixels: Pixels, rules: Rules) -> Image.Image:
    """Return the frame with zones, masks and lines. pixels: RGB, uint8, (height, width, 3)."""
    image = Image.fromarray(pixels).convert("RGB")
    size = image.size
    overlay = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(overlay)
    masks = [[_at(p, size) for p in mask.polygon] for mask in rules.masks]
    zones = [[_at(p, size) for p in zone.polygon] for zone in rules.zones.values()]
    for corners in masks:
        draw.polygon(corners, fill=(*MASK, 190))
    for corners in zones:
        draw.polygon(corners, fill=(*ZONE, 60))
    # Edges and names come last: zones overlap, and the fill of one would cover those of another.
    for corners in zones:
        draw.line([*corners, corners[0]], fill=(*ZONE, 255), width=_width(size))
    for corners, mask in zip(masks, rules.masks, strict=True):
        _text(draw, _centroid(corners), f"mask {', '.join(mask.labels or [])}".strip(), size, MASK)
    for corners, name in zip(zones, rules.zones, strict=True):
        _text(draw, _centroid(corners), f"{name}{_rule_ids(rules, zone=name)}", size, ZONE)
    for name, line in rules.lines.items():
        _line(draw, _at(line.start, size), _at(line.to, size), f"{name}{_rule_ids(rules, line=name)}", size)
    return Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB")


def draw_box(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Sequence[float],
    id: str,
    text: str,
    path: Sequence[tuple[float, float]],
) -> None:
    """Draw an object's box with its label, and the path of its feet."""
    colour = colour_of(id)
    if len(path) > 1:
        draw.line([_at(p, size) for p in path], fill=colour, width=_width(size))
    x1, y1 = _at((box[0], box[1]), size)
    x2, y2 = _at((box[2], box[3]), size)
    draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=_width(size))
    font = _font(max(10, round(size[1] * TEXT * 0.8)))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    height = bottom - top + 4
    y = y1 - height if y1 >= height else y1
    draw.rectangle((x1, y, x1 + right - left + 6, y + height), fill=colour)
    draw.text((x1 + 3 - left, y + 2 - top), text, font=font, fill="white")


def colour_of(id: str) -> str:
    """Return the colour of a track, the same in every picture."""
    return COLOURS[zlib.crc32(id.encode()) % len(COLOURS)]


def _rule_ids(rules: Rules, zone: str | None = None, line: str | None = None) -> str:
    """Return the ids of the rules of a zone or line, as a suffix of its name."""
    ids = [
        r.id
        for r in rules.rules
        if (zone and getattr(r, "zone", None) == zone) or (line and isinstance(r, Crossing) and r.line == line)
    ]
    return f": {', '.join(ids)}" if ids else ""


def _line(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], to: tuple[float, float], text: str, size: tuple[int, int]
) -> None:
    """Draw a line with an arrow to its right-hand side, which is the direction `in`."""
    width = _width(size)
    draw.line([start, to], fill=(*LINE, 255), width=width + 1)
    for end in (start, to):
        draw.circle(end, 2 * width, fill=(*LINE, 255))
    middle = ((start[0] + to[0]) / 2, (start[1] + to[1]) / 2)
    dx, dy = to[0] - start[0], to[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    arrow_length = max(20.0, size[1] / 14)
    right = (-dy / length, dx / length)
    tip = (middle[0] + right[0] * arrow_length, middle[1] + right[1] * arrow_length)
    draw.line([middle, tip], fill=(*LINE, 255), width=width)
    for angle in (2.6, -2.6):
        x = right[0] * math.cos(angle) - right[1] * math.sin(angle)
        y = right[0] * math.sin(angle) + right[1] * math.cos(angle)
        draw.line([tip, (tip[0] + x * arrow_length / 3, tip[1] + y * arrow_length / 3)], fill=(*LINE, 255), width=width)
    _text(draw, (tip[0] + right[0] * arrow_length / 2, tip[1] + right[1] * arrow_length / 2), "in", size, LINE)
    _text(draw, (start[0], start[1]), text, size, LINE)


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    """Draw text with an outline, within the frame."""
    font = _font(max(11, round(size[1] * TEXT)))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font, stroke_width=2)
    width, height = right - left, bottom - top
    x = min(max(0.0, at[0] - width / 2), max(0.0, size[0] - width))
    y = min(max(0.0, at[1] - height / 2), max(0.0, size[1] - height))
    fill = (255, 255, 255) if colour == MASK else colour
    draw.text((x - left, y - top), text, font=font, fill=(*fill, 255), stroke_width=2, stroke_fill=(*SHADOW, 255))


def _at(point: Sequence[float], size: tuple[int, int]) -> tuple[float, float]:
    return (point[0] * size[0], point[1] * size[1])


def _centroid(corners: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return (sum(x for x, _ in corners) / len(corners), sum(y for _, y in corners) / len(corners))


def _width(size: tuple[int, int]) -> int:
    return max(2, round(size[1] / 240))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
