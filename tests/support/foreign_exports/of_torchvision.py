"""torchvision's detectors. Suppression is in their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torchvision.models import detection

from tests.support.foreign_exports import own, untrained
from tests.support.foreign_exports.own import Found, Own

_NAMES = detection.SSD300_VGG16_Weights.COCO_V1.meta["categories"]


class _Kind(NamedTuple):
    """side: of the picture, which needs no resizing. scores, boxes: the names of last layers."""

    build: Callable[..., Any]
    side: int
    scores: str = r"classification_head.*(cls_logits|module_list\.\d(\.1)?)"
    boxes: str = r"regression_head.*(bbox_reg|module_list\.\d(\.1)?)"
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


_KINDS = {
    "fasterrcnn_mobilenet": _Kind(
        detection.fasterrcnn_mobilenet_v3_large_320_fpn, 320, "cls_score|rpn.head.cls_logits", "bbox_pred"
    ),
    "fcos": _Kind(detection.fcos_resnet50_fpn, 320, options={"min_size": 320, "max_size": 320}),
    "retinanet": _Kind(detection.retinanet_resnet50_fpn, 320, options={"min_size": 320, "max_size": 320}),
    "ssd300": _Kind(detection.ssd300_vgg16, 300),
    "ssdlite320": _Kind(detection.ssdlite320_mobilenet_v3_large, 320),
}


class _Named(torch.nn.Module):
    """A model whose outputs come in one order: boxes, labels, scores."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (found,) = self.model([image[0]])
        return found["boxes"], found["labels"], found["scores"]


def make(detector: str, folder: Path) -> Own:
    kind = _KINDS[detector]
    model = kind.build(weights=None, weights_backbone=None, num_classes=len(_NAMES), **kind.options).eval()
    picture = untrained.picture(kind.side, kind.side)
    batch = [_pixels(each) for each in (picture, untrained.noise(kind.side, kind.side))]
    untrained.spread(
        model,
        lambda: model(batch),
        scores=untrained.layers(model, kind.scores),
        boxes=untrained.layers(model, kind.boxes),
    )
    for part in (model, getattr(model, "roi_heads", model)):
        part.score_thresh = own.LEAST
    named = _Named(model).eval()
    file = folder / f"{detector}.onnx"
    names = ["boxes", "labels", "scores"]
    torch.onnx.export(named, (batch[0][None],), file, output_names=names, opset_version=17, dynamo=False)
    file.with_suffix(".labels.txt").write_text("\n".join(_NAMES))

    def detect() -> Found:
        with torch.inference_mode():
            boxes, ids, scores = named(_pixels(picture)[None])
        return Found(boxes.tolist(), [_NAMES[id] for id in ids], scores.tolist())

    return Own(file, picture, detect)


def _pixels(picture: Any) -> torch.Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1) / 255.0).float()
