"""CLIP models by open_clip, on CPU or CUDA: pictures and texts in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from services.embed.models import EmbedderOptions
from shared.contract.names import safe_name
from shared.models import torch as torch_device
from shared.models.vectors import Vectors, normalise
from shared.runtime.errors import ModelError
from shared.video.decode import Image

RANDOM = "random"
_HUB, _FOLDER = "hf-hub:", "local-dir:"


class OpenClip:
    """A CLIP model."""

    def __init__(self, name: str, options: EmbedderOptions) -> None:
        self.name = _event_name(name, options.pretrained)
        self._device = torch_device.choose(options.device, options.threads)
        half = self._device.type == "cuda"
        self._dtype = torch.float16 if half else torch.float32
        model, self._tokens = _model(name, options.pretrained, self._device, "fp16" if half else "fp32")
        self._model = model.eval().to(memory_format=torch.channels_last)
        wanted = open_clip.get_model_preprocess_cfg(self._model)
        self.size = _width_height(wanted["size"])
        self._mean, self._std = (
            torch.tensor(wanted[key], device=self._device).view(1, 3, 1, 1) * 255 for key in ("mean", "std")
        )
        width, height = self.size
        self.dimension = 0
        warm = self.embed([np.zeros((height, width, 3), np.uint8)] * options.batch_size)
        self.dimension = warm.shape[1]
        self.text([""])

    def embed(self, images: Sequence[Image]) -> Vectors:
        if not images:
            return np.empty((0, self.dimension), np.float32)
        with torch.inference_mode():
            pixels = torch_device.upload_batch(images, self._device)
            pixels = ((pixels.float() - self._mean) / self._std).to(self._dtype)
            return _vectors(self._model.encode_image(pixels))

    def text(self, texts: Sequence[str]) -> Vectors:
        with torch.inference_mode():
            return _vectors(self._model.encode_text(self._tokens(list(texts)).to(self._device)))


def load(name: str, options: EmbedderOptions) -> OpenClip:
    """Load a model. Raises ModelError for an unavailable model, unavailable or unfit weights, or a missing device."""
    if Path(name).is_dir():
        name = _FOLDER + name
    return OpenClip(name, options)


def _vectors(found: Any) -> Vectors:
    # Lengths are computed in float32, whatever the model's precision.
    return normalise(found.float().cpu().numpy())


def _width_height(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (width, height) of open_clip's size: one side, or (height, width)."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(width), int(height)


def _event_name(name: str, pretrained: str) -> str:
    """Return `<model>-<tag or stem of the weights>`: vectors of other weights must not be compared with these."""
    model = Path(name.removeprefix(_HUB).removeprefix(_FOLDER)).name
    if not pretrained:
        return safe_name(model)
    stem = "untrained" if pretrained == RANDOM else Path(pretrained).stem if Path(pretrained).is_file() else pretrained
    return safe_name(f"{model}-{stem}")


def _model(name: str, pretrained: str, device: torch.device, precision: str) -> tuple[Any, Any]:
    """Return (model, tokenizer). Weights are safetensors, or unpickled with weights_only: they can run no code."""
    brings_weights = name.startswith((_HUB, _FOLDER))
    _check(name, pretrained, brings_weights)
    untrained = pretrained == RANDOM
    if untrained:
        torch.manual_seed(0)
    try:
        model = open_clip.create_model(
            name,
            pretrained=None if untrained or brings_weights else pretrained,
            load_weights=not untrained,
            # Without this, open_clip only warns of missing weights, and the model is random.
            require_pretrained=not untrained,
            pretrained_text=False,
            precision=precision,
            device=device,
            weights_only=True,
        )
        return model, open_clip.get_tokenizer(name)
    # open_clip raises errors of many kinds: the hub's, torch's, JSON's, its own.
    except Exception as e:
        reason = " ".join(str(e).split())
        raise ModelError(
            f"EMBED_MODEL={name} with EMBED_PRETRAINED={pretrained!r} can't be loaded: {reason}. Without the hub, set "
            "EMBED_PRETRAINED to a file of weights, or EMBED_MODEL to a folder that has open_clip_config.json and "
            "weights"
        ) from e


def _check(name: str, pretrained: str, brings_weights: bool) -> None:
    if brings_weights:
        if pretrained not in ("", RANDOM):
            raise ModelError(f"EMBED_MODEL={name} has its own weights: leave EMBED_PRETRAINED={pretrained!r} empty")
        return
    if name not in open_clip.list_models():
        raise ModelError(
            f"EMBED_MODEL={name!r} is not known: give openvino:efficientnet_lite3, a model of open_clip such as "
            "ViT-B-32, hf-hub:<organisation>/<name>, or a folder that has open_clip_config.json and weights"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in (RANDOM, *tags) and not Path(pretrained).is_file():
        problem = f"EMBED_PRETRAINED={pretrained!r} is not known" if pretrained else "EMBED_PRETRAINED is not set"
        raise ModelError(
            f"{problem}: {name} has {', '.join(tags) or 'no tags'}; or give a file of weights, or {RANDOM}"
        )
