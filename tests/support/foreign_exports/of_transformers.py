"""Detectors of transformers, with random weights of a small configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as t
from PIL import Image

from tests.support.foreign_exports import own, untrained
from tests.support.foreign_exports.own import Found, Own

SIDE = 320


class _Kind(NamedTuple):
    """model, processor: names of classes. scores: the names of last layers. logit: mean and deviation of logits."""

    config: Callable[[], Any]
    model: str
    processor: str = "RTDetrImageProcessor"
    scores: str = "class_embed.*|enc_score_head"
    logit: tuple[float, float] = untrained.SCORES


_LABELS = 80
_BOXES = r".*bbox_(embed|head|predictor).*layers\.\d"
# Scores that are a softmax: "no object" is one logit of many.
_SOFTMAX = {"scores": r"class_labels_classifier(\.layers\.2)?", "logit": (0.0, 3.0)}


def _detr(kind: Any) -> Any:
    return kind(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=t.ResNetConfig(depths=[1, 1, 1, 1], hidden_sizes=[32, 64, 128, 256], out_features=["stage4"]),
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        num_labels=_LABELS,
    )


def _rt_detr(kind: Any) -> Any:
    backbone = t.RTDetrResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    return kind(backbone_config=backbone, decoder_layers=3, num_labels=_LABELS)


def _yolos() -> Any:
    return t.YolosConfig(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=384,
        image_size=[SIDE, SIDE],
        num_labels=_LABELS,
    )


_KINDS = {
    "conditional-detr": _Kind(
        lambda: _detr(t.ConditionalDetrConfig), "ConditionalDetrForObjectDetection", "ConditionalDetrImageProcessor"
    ),
    "d-fine": _Kind(lambda: t.DFineConfig(decoder_layers=3, num_labels=_LABELS), "DFineForObjectDetection"),
    "deformable-detr": _Kind(
        lambda: _detr(t.DeformableDetrConfig), "DeformableDetrForObjectDetection", "DeformableDetrImageProcessor"
    ),
    "detr": _Kind(lambda: _detr(t.DetrConfig), "DetrForObjectDetection", "DetrImageProcessor", **_SOFTMAX),
    "rt-detr": _Kind(lambda: _rt_detr(t.RTDetrConfig), "RTDetrForObjectDetection"),
    "rt-detr-v2": _Kind(lambda: _rt_detr(t.RTDetrV2Config), "RTDetrV2ForObjectDetection"),
    "table-transformer": _Kind(
        lambda: _detr(t.TableTransformerConfig), "TableTransformerForObjectDetection", "DetrImageProcessor", **_SOFTMAX
    ),
    "yolos": _Kind(_yolos, "YolosForObjectDetection", "YolosImageProcessor", **_SOFTMAX),
}


class _Named(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.model(pixel_values=pixel_values)
        return found.logits, found.pred_boxes


def make(detector: str, folder: Path) -> Own:
    kind = _KINDS[detector]
    model = getattr(t, kind.model)(kind.config()).eval()
    for queries in untrained.layers(model, "query_position_embeddings"):
        # They begin so near to one another that all objects would be at one place.
        torch.nn.init.normal_(queries.weight)
    processor = getattr(t, kind.processor)(size={"height": SIDE, "width": SIDE}, do_pad=False)
    picture = untrained.picture(SIDE, SIDE)
    noise = untrained.noise(SIDE, SIDE)
    pixels = torch.cat([_pixels(processor, each) for each in (picture, noise)])
    is_softmax = kind.logit != untrained.SCORES
    untrained.spread(
        model,
        lambda: model(pixel_values=pixels),
        scores=untrained.layers(model, kind.scores),
        boxes=[layer for layer in untrained.layers(model, _BOXES) if layer.out_features == 4],
        score=kind.logit,
        box=untrained.BOXES if is_softmax else untrained.CORRECTIONS,
        apart=is_softmax,
    )
    file = folder / "model.onnx"
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    torch.onnx.export(
        _Named(model).eval(),
        (pixels[:1],),
        file,
        input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"],
        opset_version=17,
        dynamo=False,
    )

    def detect() -> Found:
        with torch.inference_mode():
            found = model(pixel_values=_pixels(processor, picture))
            (result,) = processor.post_process_object_detection(
                found, threshold=own.LEAST, target_sizes=[picture.shape[:2]]
            )
        labels = [model.config.id2label[int(id)] for id in result["labels"]]
        return Found(result["boxes"].tolist(), labels, result["scores"].tolist())

    return Own(file, picture, detect)


def _pixels(processor: Any, picture: np.ndarray[Any, Any]) -> torch.Tensor:
    pixels: torch.Tensor = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"]
    return pixels
