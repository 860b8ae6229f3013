"""Detectors by libreyolo."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import libreyolo
import torch
from PIL import Image

from tests.support.foreign_exports import own, untrained
from tests.support.foreign_exports.own import Found, Own


class _Kind(NamedTuple):
    """scores, boxes: the names of last layers. box: the mean and the deviation of what the latter give."""

    type: str
    size: str
    scores: str
    boxes: str = "(dec|enc|pre)_bbox_head.*layers.2"
    box: tuple[float, float] = untrained.CORRECTIONS
    side: int = 320


_DETR_SCORES = r"dec_score_head\.\d+|enc_score_head"
_KINDS = {
    "deim": _Kind("LibreDEIM", "n", _DETR_SCORES),
    "dfine": _Kind("LibreDFINE", "n", _DETR_SCORES),
    "picodet": _Kind("LibrePICODET", "s", r"gfl_cls\.\d", r"gfl_reg\.\d", untrained.BOXES),
    "ppyoloe": _Kind("LibrePPYOLOE", "s", r"pred_cls\.\d", r"pred_reg\.\d", untrained.BOXES),
    "rtdetrv2": _Kind("LibreRTDETRv2", "r18", _DETR_SCORES, side=640),
    "rtmdet": _Kind("LibreRTMDet", "t", r"rtm_cls\.\d", r"rtm_reg\.\d", untrained.DISTANCES),
    "yolo9": _Kind("LibreYOLO9", "t", r"cv3\.\d\.2", r"cv2\.\d\.2", untrained.BOXES),
    "yolonas": _Kind("LibreYOLONAS", "s", "cls_pred", "reg_pred", untrained.BOXES),
    "yolox": _Kind("LibreYOLOX", "n", r"(cls|obj)_preds\.\d", r"reg_preds\.\d", untrained.SIZES),
}


def make(detector: str, folder: Path) -> Own:
    """detector: a family. `+wide` is with a picture of 4:3 in the same square input."""
    name, *options = detector.split("+")
    kind = _KINDS[name]
    side = kind.side
    picture = untrained.picture(side, side * 3 // 4 if options else side)
    model = getattr(libreyolo, kind.type)(None, size=kind.size, device="cpu")
    network = model.model.eval()
    pictures = [Image.fromarray(each) for each in (picture, untrained.noise(side, side))]
    pixels = torch.cat([model._preprocess(each, input_size=side)[0] for each in pictures])
    untrained.spread(
        network,
        lambda: network(pixels),
        scores=untrained.layers(network, kind.scores),
        boxes=untrained.layers(network, kind.boxes),
        box=kind.box,
    )

    def detect() -> Found:
        boxes = model.predict(pictures[0], imgsz=side, conf=own.LEAST).boxes
        return Found(boxes.xyxy.tolist(), [model.names[int(id)] for id in boxes.cls], boxes.conf.tolist())

    detect()
    file = folder / f"{name}.onnx"
    model.export("onnx", imgsz=side, output_path=str(file), simplify=False, dynamic=False)
    network.eval()
    return Own(file, picture, detect)
