"""Batches of images, and whether a model keeps their images apart: an open first axis does not prove it.

Example:
    for batch in of(images, 8): ...
    if not keep_apart(lambda images: session.run(images, list), (640, 640)): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.video.decode import Image

# The difference of a batch from its single images that is none: of that between two images, and of their values.
_NEAR, _ROUNDING = 0.05, 1e-5


def of(images: Iterable[Image], most: int) -> Iterator[list[Image]]:
    """Yield the images in batches of `most`, the last of which may be smaller. An image is taken for its batch only."""
    rest = iter(images)
    while batch := list(islice(rest, most)):
        yield batch


def keep_apart(run: Callable[[Sequence[Image]], Sequence[Sequence[NDArray[Any]]]], size: tuple[int, int]) -> bool:
    """Return whether two images in a batch give what they give alone.

    run: returns the output arrays of each image; several images are one batch. size: (width, height).
    """
    noise = np.random.default_rng(0).integers(0, 256, (2, size[1], size[0], 3), np.uint8)
    # Noise resembles other noise: a mix of both images must show.
    noise[1, : size[1] // 2] = 0
    both = run(list(noise))
    alone = [run([image])[0] for image in noise]
    return all(all(map(_is_same, both[at], alone[at], alone[other])) for at, other in ((0, 1), (1, 0)))


def _is_same(found: NDArray[Any], wanted: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether an output is that of one image, measured by how far the output of the other image is.

    The order is ignored: near-equal scores may change places.
    """
    if not found.shape == wanted.shape == other.shape:
        return False
    arrays = [np.sort(array.astype(np.float64), axis=None) for array in (found, wanted, other)]
    error, contrast = (np.abs(arrays[1] - array).sum() for array in (arrays[0], arrays[2]))
    return bool(error <= _NEAR * contrast + _ROUNDING * np.abs(arrays[1]).sum())
