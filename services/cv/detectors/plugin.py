"""Detectors of other packages: a function from images to boxes, found by its entry point.

    from tidegate.plugins import detector

    @detector(labels=["person", "car"], size=(640, 640))
    def detect(images):                      # uint8, (n, 640, 640, 3), RGB
        return [[(x1, y1, x2, y2, score, label_id), ...] for image in images]

The entry point names such a function, or a function `load(name, options)` that returns one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from services.cv.detectors import Detection, DetectorOptions, detections, warm_up
from shared.models import plugins
from shared.models.plugins import Plugin
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# The size of the trial image of a function that takes any: (width, height).
_TRIAL = (640, 360)
_REMEDY = "each image has rows of x1, y1, x2, y2 in pixels, a score from 0 to 1, and an index of a label"


class DetectorFunction(NamedTuple):
    """A function from images to rows, and what Tidegate needs to call it. A call of this calls the function."""

    function: Callable[[Any], Iterable[Any]]
    labels: tuple[str, ...]
    size: tuple[int, int] | None
    within: tuple[int, int] | None
    batch_size: int | None

    def __call__(self, images: Any) -> Iterable[Any]:
        return self.function(images)


def detector(
    *,
    labels: Sequence[str],
    size: tuple[int, int] | None = None,
    within: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> Callable[[Callable[[Any], Iterable[Any]]], DetectorFunction]:
    """Decorate a function from images to rows of (x1, y1, x2, y2, score, index of a label), best for numpy arrays.

    labels: of the indices. size: (width, height); frames are stretched to it, and the function gets one uint8 array
    (n, height, width, 3), RGB. Without it, the function gets a list of arrays (height, width, 3), at the video's size
    or scaled into `within`, with their aspect. Boxes are in pixels of the image that the function got. batch_size:
    maximum images of a call; by default CV_BATCH_SIZE.
    """
    for sides in (size, within):
        if sides is not None and (len(sides) != 2 or min(sides) < 1):
            raise ValueError(f"{sides} is not (width, height)")
    return lambda function: DetectorFunction(function, tuple(labels), size, within, batch_size)


class PluginDetector:
    """The detector of a function. Its rows are checked in each call."""

    def __init__(self, function: DetectorFunction, plugin: Plugin, options: DetectorOptions) -> None:
        self.name = plugin.model
        self.labels, self.size, self.within = function.labels, function.size, function.within
        self._function, self._min_score = function, options.min_score
        self._batch_size = min(function.batch_size or options.batch_size, options.batch_size)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        found: list[list[Detection]] = []
        for i in range(0, len(images), self._batch_size):
            batch = images[i : i + self._batch_size]
            results = list(self._function(np.stack(batch) if self.size else list(batch)))
            if len(results) != len(batch):
                raise ModelError(f"{self.name} gives {len(results)} results for {len(batch)} images: {_REMEDY}")
            found += [self._objects(rows, image) for rows, image in zip(results, batch, strict=True)]
        return found

    def _objects(self, rows: Any, image: Image) -> list[Detection]:
        """Return the objects of an image. Raises ModelError if its rows are none."""
        try:
            array = np.asarray(rows, np.float64)
        except (TypeError, ValueError) as e:
            raise ModelError(f"{self.name} gives rows that are no numbers ({e}): {_REMEDY}") from e
        if not array.size:
            return []
        if array.ndim != 2 or array.shape[1] != 6:
            raise ModelError(f"{self.name} gives an array {array.shape} for an image: {_REMEDY}")
        scores, ids = array[:, 4], array[:, 5]
        is_row = np.isfinite(array).all(axis=1) & (scores >= 0) & (scores <= 1.001)
        is_row &= (ids >= 0) & (ids < len(self.labels)) & (ids == np.floor(ids))
        if not is_row.all():
            worst = ", ".join(f"{value:.6g}" for value in array[np.flatnonzero(~is_row)[0]])
            raise ModelError(f"{self.name} gives the row ({worst}) with {len(self.labels)} labels: {_REMEDY}")
        height, width = image.shape[:2]
        array = array[scores >= self._min_score]
        shares = array[:, :4] / (width, height, width, height)
        return detections(self.labels, array[:, 5].astype(int), np.minimum(array[:, 4], 1), shares)


def load(name: str, options: DetectorOptions) -> PluginDetector:
    """Load the detector that a package brings, and try it on noise. Raises ModelError."""
    plugin, function = plugins.load(plugins.DETECTORS, name, DetectorFunction, options)
    if not function.labels or len(set(function.labels)) < len(function.labels):
        raise ModelError(f"{name}: {plugin.package} has no labels, or one twice: correct labels=")
    found = PluginDetector(function, plugin, options)
    width, height = function.size or function.within or _TRIAL
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    plugin.call(found.detect, [noise] * 2)
    plugin.call(warm_up, found.detect, (width, height), options.batch_size)
    return found
