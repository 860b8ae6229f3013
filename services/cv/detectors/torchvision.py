"""Detection models of torchvision: `torchvision:<name>[@random|@/path/state.pth]`, on CPU or CUDA.

Without `@`, torchvision fetches its default weights from its hub, once. A state dict with classes other than COCO's has
`state.labels.txt` next to it: one class per line, from id 0 on, which is the background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torchvision.models import detection, get_model, get_model_weights, list_models
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from services.cv.detectors import Detection, DetectorOptions, detections, read_labels, warm_up
from shared.contract.names import safe_name
from shared.models import torch as torch_device
from shared.models.runtimes import batches
from shared.runtime.errors import ModelError
from shared.video.decode import Image


class Torchvision:
    """A detector of torchvision. `size` is set for models that stretch images (SSD), else None."""

    within = None

    def __init__(self, name: str, weights: str, options: DetectorOptions) -> None:
        self.name = safe_name(name + ("-untrained" if weights == "random" else ""))
        self._device = torch_device.choose(options.device, options.threads)
        model, self._classes = _model(name, weights)
        self.labels = tuple(label for label in self._classes if label not in ("__background__", "N/A"))
        fixed = model.transform.fixed_size
        self.size = (int(fixed[0]), int(fixed[1])) if fixed else None
        (model.roi_heads if isinstance(model, GeneralizedRCNN) else model).score_thresh = options.min_score
        if self._device.type == "cuda":
            model.backbone.forward = _in_half(model.backbone.forward)
        self._batch_size = options.batch_size
        self._model = model.eval().to(self._device, memory_format=torch.channels_last)
        warm_up(self.detect, self.size, options.batch_size)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [found for batch in batches.of(images, self._batch_size) for found in self._detect(batch)]

    def _detect(self, images: list[Image]) -> list[list[Detection]]:
        with torch.inference_mode():
            results = self._model([tensor.float() / 255 for tensor in torch_device.upload(images, self._device)])
        return [self._read(result, image) for result, image in zip(results, images, strict=True)]

    def _read(self, result: dict[str, Any], image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        boxes = result["boxes"].float().cpu().numpy() / np.array([width, height, width, height])
        return detections(self._classes, result["labels"].tolist(), result["scores"].tolist(), boxes)


def load(name: str, options: DetectorOptions) -> Torchvision:
    """Load a model. Raises ModelError for an unknown name, unavailable or unfit weights, or a missing device."""
    name, _, weights = name.partition("@")
    return Torchvision(name, weights, options)


def _in_half(forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a backbone's `forward` in half precision, with features in single.

    Boxes stay in single: torchvision's NMS offsets the boxes of each class by its id times the frame's width. In half
    precision, positions of class 30 are 32 pixels apart, and those of class 60 infinite.
    """

    def half(pixels: Any) -> Any:
        with torch.autocast("cuda", torch.float16):
            found = forward(pixels)
        return found.float() if isinstance(found, torch.Tensor) else {k: v.float() for k, v in found.items()}

    return half


def _model(name: str, weights: str) -> tuple[Any, tuple[str, ...]]:
    """Return (the model, the class of each id). Raises ModelError."""
    available = list_models(detection)
    if name not in available:
        raise ModelError(f"torchvision has no detector {name!r}, but {', '.join(available)}")
    default = get_model_weights(name).DEFAULT
    classes = tuple(default.meta["categories"])
    try:
        if not weights:
            return get_model(name, weights=default), classes
        if weights == "random":
            return get_model(name, weights=None, weights_backbone=None), classes
        path = Path(weights)
        if (beside := path.with_suffix(".labels.txt")).is_file():
            classes = read_labels(beside)
        model = get_model(name, weights=None, weights_backbone=None, num_classes=len(classes))
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, UnpicklingError) as e:
        raise ModelError(
            f"weights of torchvision's {name} can't be loaded: {e}. "
            f"Without the hub, give a state dict: torchvision:{name}@/path/state.pth"
        ) from e
    return model, classes
