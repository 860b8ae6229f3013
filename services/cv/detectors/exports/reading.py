"""How to use an exported file, as a family reads it. Pure.

Example:
    Reading("yolov8", UNIT._replace(fit=CENTRE), decoders.dense(columns_first=True), labels, "why", iou=0.7)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from services.cv.detectors.exports import labels
from services.cv.detectors.exports.decoders import Decoder
from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.labels import Labels
from services.cv.detectors.exports.picture import IMAGENET_DEVIATION, IMAGENET_MEAN, Picture

UNIT = Picture(deviation=(255.0, 255.0, 255.0))
IMAGENET = Picture(mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
IMAGENET_BGR = Picture(channels="BGR", mean=IMAGENET_MEAN[::-1], deviation=IMAGENET_DEVIATION[::-1])


class Reading(NamedTuple):
    """How to use a file. format: of FORMATS. iou: of boxes that are one object, None if the file suppresses them.

    is_clipped: boxes are cut off at the picture before overlaps are suppressed. in_pixels: they are in pixels of the
    input, not in shares. background: id 0 is none of the classes. constants: for
    the inputs besides the image. is_raw: whether a trial must tell boxes from offsets of a grid.
    """

    format: str
    picture: Picture
    decode: Decoder
    labels: Labels
    evidence: str
    iou: float | None = None
    is_clipped: bool = False
    in_pixels: bool = True
    background: bool = False
    constants: dict[str, tuple[float, ...]] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    is_raw: bool = False


Recogniser = Callable[[Facts], Iterator[Reading]]


def named(facts: Facts, count: int, *, more: int = 0) -> Labels | None:
    """Return the labels if they fit `count` classes, up to `more` of which have none. COCO's if the file has none."""
    if facts.labels is None:
        return labels.of_coco(count)
    return facts.labels if 0 <= count - len(facts.labels.names) <= more else None
