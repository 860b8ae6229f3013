"""An untrained detector of the overlays' architecture, for machines that can't reach the hub: RT-DETR v2, ResNet-50.

Weights affect speed only by the number of objects, which the CPU reads, filters and publishes. RT-DETR has no NMS,
whose time would depend on the number of boxes too. So the last bias is set such that as many objects per frame pass the
threshold as a trained detector finds in the same footage.
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
    """Write the model into `folder`. Return its spec for `CV_MODEL`.

    images: RGB, 640x640, to fit the bias. objects: mean number per image at scores from `floor` on. small: changes of
    the configuration, for a smaller model.
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
    """Shift the scores of all classes equally, in the heads of the decoder's last layer and of the query selection."""
    with torch.inference_mode():
        logits = model(**inputs).logits.flatten()
    wanted = max(1, min(round(objects * len(inputs["pixel_values"])), len(logits) - 1))
    lowest = torch.topk(logits, wanted).values[-1].item()
    # The last wanted score must be just above the floor.
    shift = math.log(floor / (1 - floor)) - lowest + 1e-3
    heads = (model.class_embed[-1], model.model.decoder.class_embed[-1])
    with torch.no_grad():
        # Both heads may share one bias.
        for bias in {head.bias.data_ptr(): head.bias for head in heads}.values():
            bias += shift
