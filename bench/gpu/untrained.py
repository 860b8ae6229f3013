"""A detector of the architecture that the overlays name, for machines that can't reach the hub: RT-DETR v2, ResNet-50.

Weights decide nothing about speed but one thing: how many objects are found, each of which is read, filtered and
published by the CPU. RT-DETR has no NMS, which would cost time by the number of boxes too. So the last bias is set such
that as many objects a frame pass the threshold as a trained detector finds in the same footage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from shared.video.decode import Image

SIDE = 640


def rt_detr(folder: Path, images: Sequence[Image], *, objects: float, floor: float, **small: Any) -> str:
    """Write the model into `folder`; its spec for `CV_MODEL`.

    images: RGB, 640x640, for which it is set. objects: how many each is to have at scores from `floor` on, in the mean.
    small: of its configuration, for a smaller one.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.RTDetrV2Config(**{"num_labels": 80} | small)
    model = transformers.RTDetrV2ForObjectDetection(config).eval()
    processor = transformers.RTDetrImageProcessor(size={"width": SIDE, "height": SIDE})
    _set_bias(model, processor(list(images), return_tensors="pt"), objects, floor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"hf:{folder}"


def _set_bias(model: Any, inputs: Any, objects: float, floor: float) -> None:
    """Move all classes' scores by one amount. The decoder's last layer gives the scores, and each query the best."""
    with torch.inference_mode():
        logits = model(**inputs).logits.flatten()
    wanted = max(1, min(round(objects * len(inputs["pixel_values"])), len(logits) - 1))
    lowest = torch.topk(logits, wanted).values[-1].item()
    # So that the last wanted score lies just over the floor.
    shift = math.log(floor / (1 - floor)) - lowest + 1e-3
    heads = (model.class_embed[-1], model.model.decoder.class_embed[-1])
    with torch.no_grad():
        # Both may share one bias.
        for bias in {head.bias.data_ptr(): head.bias for head in heads}.values():
            bias += shift
