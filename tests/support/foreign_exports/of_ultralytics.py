"""Detectors by Ultralytics (AGPL 3.0): for this comparison alone, and never among our dependencies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ |= {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}

import numpy as np
import torch
from ultralytics import RTDETR, YOLO, settings
from ultralytics.data.augment import LetterBox

from tests.support.foreign_exports import own, untrained
from tests.support.foreign_exports.own import Found, Own

SIDE = 320
WIDE = (320, 160)


def make(detector: str, folder: Path) -> Own:
    """detector: the name of a configuration. `+nms` has suppression in the file, `+free` needs none, and `+wide` is
    with a picture that is twice as wide as high.
    """
    settings.update({"sync": False})
    name, *options = detector.split("+")
    model = (RTDETR if name.startswith("rtdetr") else YOLO)(f"{name}.yaml")
    picture = untrained.picture(*WIDE) if "wide" in options else untrained.picture(SIDE, SIDE)
    network = model.model.eval()
    head = network.model[-1]
    scores, boxes = _last_layers(head)
    # 0: RT-DETR has none.
    box = {0: untrained.CORRECTIONS, 1: untrained.DISTANCES}.get(getattr(head, "reg_max", 0), untrained.BOXES)
    head.end2end = "free" in options
    placed = LetterBox((SIDE, SIDE), auto=False)(image=picture)
    pictures = np.stack([placed, untrained.noise(SIDE, SIDE)])
    pixels = torch.from_numpy(pictures.transpose(0, 3, 1, 2) / 255.0).float()
    untrained.spread(network, lambda: network(pixels), scores=scores, boxes=boxes, box=box)
    model.model.pt_path = str(folder / f"{name}.pt")
    more = {"nms": False} if "free" in options else {"nms": True, "conf": own.LEAST} if "nms" in options else {}
    file = Path(model.export(format="onnx", imgsz=SIDE, simplify=False, device="cpu", **more))
    more.pop("conf", None)

    def detect() -> Found:
        # Arrays are BGR.
        (result,) = model.predict(picture[..., ::-1].copy(), imgsz=SIDE, conf=own.LEAST, rect=False, **more)
        found = result.boxes
        labels = [result.names[int(id)] for id in found.cls]
        return Found(found.xyxy.tolist(), labels, found.conf.tolist())

    return Own(file, picture, detect)


def _last_layers(head: Any) -> tuple[list[torch.nn.Module], list[torch.nn.Module]]:
    """Return the last layers for scores and for boxes."""
    if hasattr(head, "dec_score_head"):
        boxes = [mlp.layers[-1] for mlp in (*head.dec_bbox_head, head.enc_bbox_head)]
        return [*head.dec_score_head, head.enc_score_head], boxes
    parts = [(getattr(head, f"{one}cv3", None), getattr(head, f"{one}cv2", None)) for one in ("", "one2one_")]
    levels = [level for scores, boxes in parts if scores is not None for level in zip(scores, boxes, strict=True)]
    return [scores[-1] for scores, _ in levels], [boxes[-1] for _, boxes in levels]
