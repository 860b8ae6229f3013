"""How a model wants its picture, and where the frame lies in that.

Example:
    picture = Picture(deviation=(255.0,) * 3, fit=CENTRE)
    pixels, place = placed(image, (640, 640), picture.fit)
    share = place.shares(boxes)                # of the image, from pixels of the model's input
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import openvino as ov
from openvino.preprocess import ColorFormat, PrePostProcessor

from services.cv.detectors.exports.decoders import Floats
from services.cv.detectors.exports.facts import Facts
from shared.video.decode import Image
from shared.video.pictures import resize

Fit = Literal["stretched", "letterboxed", "letterboxed at the top left"]
STRETCH: Fit = "stretched"
CENTRE: Fit = "letterboxed"
CORNER: Fit = "letterboxed at the top left"
# ImageNet's, of pixels from 0 to 255, RGB.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)
_GREY = 114


class Picture(NamedTuple):
    """channels: their order. mean, deviation: of pixels from 0 to 255, in that order; a model gets
    (pixel - mean) / deviation.
    """

    channels: Literal["RGB", "BGR"] = "RGB"
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    deviation: Sequence[float] = (1.0, 1.0, 1.0)
    fit: Fit = STRETCH

    def __str__(self) -> str:
        values = "0 to 255"
        if any(self.mean):
            values = f"less mean {_list(self.mean)}, by deviation {_list(self.deviation)}"
        elif self.deviation[0] != 1:
            values = f"0 to {255 / self.deviation[0]:g}"
        return f"{self.channels}, {values}, {self.fit}"


class Place(NamedTuple):
    """Where an image lies in the model's input, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def shares(self, boxes: Floats) -> Floats:
        """Convert boxes from pixels of the input to shares of the image."""
        corner, size = np.array([self.x, self.y] * 2), np.array([self.width, self.height] * 2)
        shares: Floats = (boxes - corner) / size
        return shares


def placed(image: Image, size: tuple[int, int], fit: Fit) -> tuple[Image, Place]:
    """Return (the input, where the image lies in it). size: (width, height) of the input."""
    height, width = image.shape[:2]
    if fit == STRETCH:
        return (image if (width, height) == size else resize(image, size)), Place(0, 0, *size)
    scale = min(size[0] / width, size[1] / height)
    w, h = (max(1, min(round(side * scale), most)) for side, most in zip((width, height), size, strict=True))
    # A frame decoded for this input has the size already, but for rounding to even numbers.
    if abs(w - width) > 2 or abs(h - height) > 2:
        image = resize(image, (w, h))
    h, w = image.shape[:2]
    x, y = ((size[0] - w) // 2, (size[1] - h) // 2) if fit == CENTRE else (0, 0)
    pixels = np.full((size[1], size[0], 3), _GREY, np.uint8)
    pixels[y : y + h, x : x + w] = image
    return pixels, Place(x, y, w, h)


def with_steps(model: ov.Model, facts: Facts, picture: Picture) -> ov.Model:
    """Return the model with the steps from uint8 RGB, channels last, to its image."""
    steps = PrePostProcessor(model)
    image = steps.input()
    tensor = image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout(facts.layout.replace("C", "") + "C"))
    tensor.set_color_format(ColorFormat.RGB)
    image.model().set_layout(ov.Layout(facts.layout))
    if picture.channels == "BGR":
        image.preprocess().convert_color(ColorFormat.BGR)
    element: Any = model.inputs[0].element_type
    if element != ov.Type.u8:
        image.preprocess().convert_element_type(ov.Type.f32)
        if any(picture.mean):
            image.preprocess().mean(list(picture.mean))
        if any(value != 1 for value in picture.deviation):
            image.preprocess().scale(list(picture.deviation))
        image.preprocess().convert_element_type(element)
    return steps.build()


def _list(values: Sequence[float]) -> str:
    return "/".join(f"{value:g}" for value in values)
