"""A trial of a file: its outputs on noise show what shapes do not, and reveal a wrong reading. Pure, in numpy.

Example:
    reading = settled(reading, facts, outputs)      # of `noise(facts.size)`
    check(reading, facts, outputs)                  # raises ModelError
"""

from __future__ import annotations

import numpy as np

from services.cv.detectors.exports import decoders
from services.cv.detectors.exports.decoders import Outputs
from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.families import YOLO
from services.cv.detectors.exports.picture import CENTRE, Picture
from services.cv.detectors.exports.reading import Reading
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# The candidates that are looked at, best first, and the share of them that may lie outside of the picture.
_BEST = 100
_MOST_OUTSIDE = 0.2
# A box is outside if its centre is farther away than this share of a side, or if it is larger than this many sides.
_NEAR = 0.25
_LARGEST = 4.0


def noise(size: tuple[int, int]) -> Image:
    """Return a picture of noise, always the same one. size: (width, height)."""
    return np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)


def settled(reading: Reading, facts: Facts, outputs: Outputs) -> Reading:
    """Return the reading of a grid of cells, once its outputs show whether boxes or offsets of a cell come out.

    YOLOX's boxes are decoded in the file or left to us, by a flag of its export. YOLOv6 has the same shape, and an
    objectness of 1 everywhere.
    """
    if not reading.is_raw:
        return reading
    array = outputs[0].reshape(outputs[0].shape[-2:])
    if np.all(np.abs(array[:, 4] - 1) < 1e-3):
        picture = Picture(deviation=(255.0,) * 3, fit=CENTRE)
        evidence = reading.evidence.replace("(YOLOX)", "and an objectness of 1 (YOLOv6)")
        return reading._replace(format="yolov6", picture=picture, evidence=evidence, is_raw=False)
    cells = decoders.grid(facts.size, YOLO)
    centres = (cells[:, :2] + 0.5) * cells[:, 2:]
    # Decoded centres follow the cells over the picture. Raw ones stay near the middle of a cell of size 1.
    as_pixels, as_offsets = np.abs(array[:, :2] - centres) / cells[:, 2:], np.abs(array[:, :2] - 0.5)
    if np.median(as_pixels) < np.median(as_offsets):
        return reading._replace(evidence=f"{reading.evidence}, with boxes in pixels", is_raw=False)
    convert, decode = decoders.of_grid(facts.size, YOLO), reading.decode
    return reading._replace(
        decode=lambda outputs, least: decode(convert(outputs), least),
        evidence=f"{reading.evidence}, with offsets of cells",
        is_raw=False,
    )


def check(reading: Reading, facts: Facts, outputs: Outputs) -> None:
    """Check the candidates on noise, whatever their scores. Raises ModelError with the values."""
    if reading.format == "yolov8" and _has_corners(facts, outputs):
        raise ModelError(
            f"{facts.path} has the layout of {reading.format}, but corners where that has centre and size: export it "
            "with Ultralytics, or with libreyolo and its metadata"
        )
    found = reading.decode(outputs, 0.0)
    order = np.argsort(-found.scores, kind="stable")[:_BEST]
    boxes, scores, ids = found.boxes[order], found.scores[order], found.ids[order]
    if not len(order):
        return
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ModelError(f"{facts.path} as {reading.format} gives boxes that are no numbers: {_remedy(reading)}")
    if scores.max() > 1.001:
        raise ModelError(
            f"{facts.path} as {reading.format} gives a score of {scores.max():.3g}, where 1 is the most: "
            f"{_remedy(reading)}"
        )
    if ids.min() < 0:
        raise ModelError(f"{facts.path} as {reading.format} gives classes that are no numbers: {_remedy(reading)}")
    names, first = len(reading.labels.names), int(reading.background)
    if ids.max() >= max(names, first + 1) and names:
        raise ModelError(
            f"{facts.path} as {reading.format} gives the class {int(ids.max())}, where {reading.labels.source} has "
            f"{names} labels: correct the labels"
        )
    shares = boxes / np.array([*facts.size, *facts.size]) if reading.in_pixels else boxes
    centres, sizes = (shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]
    is_outside = (np.abs(centres - 0.5).max(axis=1) > 0.5 + _NEAR) | (sizes.max(axis=1) > _LARGEST)
    is_outside |= sizes.min(axis=1) < 0
    if is_outside.mean() > _MOST_OUTSIDE:
        worst = ", ".join(f"{v:.3g}" for v in boxes[np.flatnonzero(is_outside)[0]])
        raise ModelError(
            f"{facts.path} as {reading.format} gives boxes that leave the picture, such as ({worst}) of "
            f"{facts.size[0]}x{facts.size[1]}: {_remedy(reading)}"
        )


def _has_corners(facts: Facts, outputs: Outputs) -> bool:
    """Return whether boxes follow the cells better as corners than as centre and size."""
    cells = decoders.grid(facts.size, YOLO)
    array = outputs[0].reshape(outputs[0].shape[-2:])
    boxes = (array.T if outputs[0].shape[-1] == len(cells) else array)[:, :4]
    centres = (cells[:, :2] + 0.5) * cells[:, 2:]
    as_centres, as_corners = boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = (np.median(np.abs(found - centres) / cells[:, 2:]) for found in (as_corners, as_centres))
    return bool(next(distances) < next(distances))


def _remedy(reading: Reading) -> str:
    return f"it may be of another family than {reading.format}: set CV_MODEL_FORMAT, or see tidegate model show"
