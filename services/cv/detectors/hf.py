"""Detectors by transformers: `hf:<organisation>/<name>[@revision]` or `hf:/folder`, on CPU or CUDA.

It is for RT-DETR v2 and D-FINE, which need no NMS. Other models of AutoModelForObjectDetection work too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from services.cv.detectors import Detection, DetectorOptions, detections, warm_up
from shared.contract.names import safe_name
from shared.models import torch as torch_device
from shared.models.runtimes import batches
from shared.runtime.errors import ModelError
from shared.video.decode import Image

_FILES = ["*.json", "*.safetensors"]


class HuggingFace:
    """A detector of transformers. `size` is set if its processor stretches images, None if it preserves the aspect."""

    within = None

    def __init__(self, name: str, revision: str | None, options: DetectorOptions) -> None:
        self.name = safe_name(Path(name).name)
        self._device = torch_device.choose(options.device, options.threads)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        self._processor, model = _pretrained(name, revision, self._dtype)
        self._classes = [model.config.id2label[i] for i in sorted(model.config.id2label)]
        self.labels = tuple(self._classes)
        wanted = self._processor.size
        self.size = (int(wanted["width"]), int(wanted["height"])) if "width" in wanted else None
        self._min_score, self._batch_size = options.min_score, options.batch_size
        self._model = model.eval().to(self._device, memory_format=torch.channels_last)
        warm_up(self.detect, self.size, options.batch_size)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [found for batch in batches.of(images, self._batch_size) for found in self._detect(batch)]

    def _detect(self, images: list[Image]) -> list[list[Detection]]:
        tensors = torch_device.upload(images, self._device)
        inputs = self._processor(tensors, do_resize=self.size is None, return_tensors="pt").to(
            self._device, self._dtype
        )
        with torch.inference_mode():
            outputs = self._model(**inputs)
            # Without target sizes, boxes stay shares of the image.
            results = self._processor.post_process_object_detection(outputs, threshold=self._min_score)
        return [self._read(result) for result in results]

    def _read(self, result: dict[str, Any]) -> list[Detection]:
        boxes = result["boxes"].float().cpu().numpy()
        return detections(self._classes, result["labels"].tolist(), result["scores"].tolist(), boxes)


def load(name: str, options: DetectorOptions) -> HuggingFace:
    """Load a model. Raises ModelError if it is unavailable or no detector, or the device is missing."""
    name, _, revision = name.partition("@")
    return HuggingFace(name, revision or None, options)


def _pretrained(name: str, revision: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return (processor, model). At most one download, and only of safetensors: pickled weights could run code."""
    try:
        folder = name if Path(name).is_dir() else snapshot_download(name, revision=revision, allow_patterns=_FILES)
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForObjectDetection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except (OSError, ValueError) as e:
        reason = " ".join(str(e).split())
        raise ModelError(
            f"hf:{name} can't be loaded: {reason}. Without the hub, give a folder that holds it: hf:/path"
        ) from e
    return processor, model
