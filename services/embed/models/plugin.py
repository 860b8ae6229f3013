"""Embedding models of other packages: a function from images to vectors, found by its entry point.

    from tidegate.plugins import embedder

    @embedder(dimension=512, size=(224, 224), text=embed_texts)
    def embed(images):                       # uint8, (n, 224, 224, 3), RGB
        return vectors                       # (n, 512); Tidegate gives them length 1

The entry point names such a function, or a function `load(name, options)` that returns one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from services.embed.models import EmbedderOptions, NoTextSide
from shared.models import plugins
from shared.models.plugins import Plugin
from shared.models.vectors import Vectors, normalise
from shared.runtime.errors import ModelError
from shared.video.decode import Image


class EmbedderFunction(NamedTuple):
    """A function from images to vectors, and what Tidegate needs to call it. A call of this calls the function."""

    function: Callable[[Any], Any]
    dimension: int
    size: tuple[int, int]
    text: Callable[[Sequence[str]], Any] | None

    def __call__(self, images: Any) -> Any:
        return self.function(images)


def embedder(
    *, dimension: int, size: tuple[int, int], text: Callable[[Sequence[str]], Any] | None = None
) -> Callable[[Callable[[Any], Any]], EmbedderFunction]:
    """Decorate a function from one uint8 array (n, height, width, 3), RGB, to vectors (n, dimension).

    size: (width, height); frames are stretched to it. text: the same from a list of texts, in the same space.
    """
    return lambda function: EmbedderFunction(function, dimension, size, text)


class PluginEmbedder:
    """The embedding model of a function. Its vectors are checked in each call."""

    def __init__(self, function: EmbedderFunction, plugin: Plugin, options: EmbedderOptions) -> None:
        self.name = plugin.model
        self.dimension, self.size = function.dimension, function.size
        self._function, self._batch_size = function, options.batch_size

    def embed(self, images: Sequence[Image]) -> Vectors:
        parts = (images[i : i + self._batch_size] for i in range(0, len(images), self._batch_size))
        vectors = [self._checked(self._function(np.stack(part)), len(part)) for part in parts]
        return np.concatenate(vectors) if vectors else np.zeros((0, self.dimension), np.float32)

    def text(self, texts: Sequence[str]) -> Vectors:
        if self._function.text is None:
            raise NoTextSide(f"{self.name} embeds only pictures: give text= to tidegate.plugins.embedder")
        return self._checked(self._function.text(list(texts)), len(texts))

    def _checked(self, result: Any, count: int) -> Vectors:
        """Return vectors of length 1. Raises ModelError if the result is none."""
        try:
            vectors = np.asarray(result, np.float32)
        except (TypeError, ValueError) as e:
            raise ModelError(f"{self.name} gives vectors that are no numbers: {e}") from e
        if vectors.shape != (count, self.dimension):
            raise ModelError(f"{self.name} gives an array {vectors.shape}, expected ({count}, {self.dimension})")
        if not np.isfinite(vectors).all():
            raise ModelError(f"{self.name} gives a vector with values that are not finite")
        return normalise(vectors)


def load(name: str, options: EmbedderOptions) -> PluginEmbedder:
    """Load the embedding model that a package brings, and try it on noise. Raises ModelError."""
    plugin, function = plugins.load(plugins.EMBEDDERS, name, EmbedderFunction, options)
    found = PluginEmbedder(function, plugin, options)
    width, height = function.size
    noise = np.random.default_rng(0).integers(0, 256, (options.batch_size, height, width, 3), np.uint8)
    plugin.call(found.embed, list(noise))
    return found
