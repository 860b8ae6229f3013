"""A generated export of each family, with the object that it finds in PICTURE."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from services.cv.detectors.exports import decoders
from tests.support.video.exports import Export

# Red, no green, and less blue.
PICTURE = np.full((64, 64, 3), (200, 0, 150), np.uint8)
RED, BLUE = 200 / 255, 150 / 255
RED_BY_IMAGENET, BLUE_BY_IMAGENET = (200 - 123.675) / 58.395, (150 - 103.53) / 57.375
# Of a picture of 64x64: strides of 8, 16, 32, and of 64.
CELLS, MORE_CELLS = 84, 85
# The second label, at x 16 to 32, y 32 to 64.
BOX = (0.25, 0.5, 0.5, 1.0)
CORNERS, CENTRE = np.array([16, 32, 32, 64], np.float32), np.array([24, 48, 16, 32], np.float32)


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def yolov8(folder: Path) -> str:
    array = zeros(1, 6, CELLS)
    array[0, :4, 7] = CENTRE
    return Export(folder).output("output0", array, (0, 5, 7)).save()


def yolov5(folder: Path) -> str:
    array = zeros(1, 3 * CELLS, 7)
    array[0, 9, :5] = (*CENTRE, 0.5)
    return Export(folder, scale=2.0).output("output0", array, (0, 9, 6)).save()


def yolo_rows(folder: Path) -> str:
    array = zeros(1, 300, 6)
    array[0, 0] = (*CORNERS, 0, 1)
    return Export(folder).output("output0", array, (0, 0, 4)).metadata(names="{0: 'red', 1: 'blue'}").save(labels="")


def cells() -> np.ndarray[Any, Any]:
    array = zeros(1, CELLS, 7)
    grid = decoders.grid((64, 64), (8, 16, 32))
    array[0, :, :2] = (grid[:, :2] + 0.5) * grid[:, 2:]
    array[0, :, 2:4] = grid[:, 2:]
    array[0, :, 4] = 0.5
    return array


def of_corners() -> np.ndarray[Any, Any]:
    array = zeros(1, CELLS, 6)
    array[0, :, :2] = cells()[0, :, :2] - 4
    array[0, :, 2:4] = cells()[0, :, :2] + 4
    return array


def yolox(folder: Path) -> str:
    array = cells()
    array[0, 11, :5] = (*CENTRE, 1)
    return Export(folder, scale=1 / 255).output("output", array, (0, 11, 6)).save()


def yolox_of_offsets(folder: Path) -> str:
    array = zeros(1, CELLS, 7)
    # The cell of stride 16 at column 1, row 2: centre at 1.5 and 3 strides, 1 by 2 strides.
    array[0, 64 + 2 * 4 + 1, :5] = (0.5, 1, 0, np.log(2), 1)
    return Export(folder, scale=1 / 255).output("output", array, (0, 64 + 2 * 4 + 1, 6)).save()


def yolov6(folder: Path) -> str:
    array = cells()
    array[0, :, 4] = 1
    array[0, 11, :4] = CENTRE
    return Export(folder).output("outputs", array, (0, 11, 6)).save()


def yolo_nas(folder: Path) -> str:
    boxes, scores = zeros(1, CELLS, 4), zeros(1, CELLS, 2)
    boxes[0, 5] = CORNERS
    return Export(folder, kind=np.uint8, scale=1 / 255).output("a", boxes).output("b", scores, (0, 5, 1)).save()


def yolo_nas_flat(folder: Path) -> str:
    rows = zeros(1, 7)
    rows[0] = (0, *CORNERS, 0, 1)
    return Export(folder, kind=np.uint8, scale=1 / 255).output("a", rows, (0, 5)).save()


def yolo_nas_batch(folder: Path) -> str:
    boxes, scores = zeros(1, 20, 4), zeros(1, 20)
    boxes[0, 0] = CORNERS
    file = Export(folder, kind=np.uint8, scale=1 / 255).output("n", np.array([[1]], np.int64)).output("a", boxes)
    return file.output("b", scores, (0, 0)).output("c", np.ones((1, 20), np.int64)).save()


def rf_detr(folder: Path) -> str:
    boxes, logits = zeros(1, 10, 4), np.full((1, 10, 3), -9, np.float32)
    boxes[0, 3], logits[0, 3, 1] = CENTRE / 64, 0
    return Export(folder, scale=0.5).output("dets", boxes).output("labels", logits, (0, 3, 1), logit=True).save()


def rt_detr(folder: Path) -> str:
    boxes, scores = zeros(1, 10, 4), zeros(1, 10)
    boxes[0, 2] = CORNERS / 64
    file = Export(folder).input("orig_target_sizes", [1, 2], np.int64).output("labels", np.ones((1, 10), np.int64))
    return file.output("boxes", boxes).output("scores", scores, (0, 2)).save()


def rt_detr_by_ultralytics(folder: Path) -> str:
    array = zeros(1, 300, 6)
    array[0, 2, :4] = CENTRE / 64
    # Three labels: rows of six would be finished objects.
    array = np.concatenate([array, zeros(1, 300, 1)], axis=2)
    file = Export(folder).output("output0", array, (0, 2, 5))
    return file.metadata(names="{0: 'red', 1: 'blue', 2: 'green'}", stride="32", task="detect").save(labels="")


def rt_detr_by_transformers(folder: Path) -> str:
    boxes, logits = zeros(1, 10, 4), np.full((1, 10, 2), -9, np.float32)
    boxes[0, 3], logits[0, 3, 1] = CENTRE / 64, 0
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "red", "1": "blue"}}))
    file = Export(folder, image="pixel_values").output("logits", logits, (0, 3, 1), logit=True)
    return file.output("pred_boxes", boxes).save(labels="")


def detr(folder: Path) -> str:
    boxes, logits = zeros(1, 10, 4), zeros(1, 10, 3)
    logits[:, :, 2] = 20
    boxes[0, 3], logits[0, 3] = CENTRE / 64, (-20, 0, 0)
    file = Export(folder, image="pixel_values").input("pixel_mask", [1, 64, 64], np.int64)
    return file.output("logits", logits, (0, 3, 1)).output("pred_boxes", boxes).save()


def nanodet(folder: Path) -> str:
    array = zeros(1, MORE_CELLS, 2 + 32)
    # The cell of stride 16 at column 2, row 3: its corner is at (32, 48), where the box's right side is.
    for side, bin in enumerate((1, 1, 0, 1)):
        array[0, 64 + 3 * 4 + 2, 2 + 8 * side + bin] = 50
    return Export(folder).output("output", array, (0, 64 + 3 * 4 + 2, 1)).save()


def paddle(folder: Path) -> str:
    boxes, scores = zeros(1, MORE_CELLS, 4), zeros(1, 2, MORE_CELLS)
    boxes[0, 5] = CORNERS
    file = Export(folder, scale=0.5, image="image").input("scale_factor", [1, 2])
    return file.output("a", boxes).output("b", scores, (0, 1, 5)).save()


def paddle_rows(folder: Path) -> str:
    rows = zeros(3, 6)
    rows[0] = (1, 0, *CORNERS)
    step = {"type": "NormalizeImage", "is_scale": True, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    config = {"Preprocess": [{"type": "Resize", "keep_ratio": False}, step], "label_list": ["red", "blue"]}
    (folder / "infer_cfg.yml").write_text(json.dumps(config))
    file = Export(folder, image="image").input("im_shape", [1, 2]).input("scale_factor", [1, 2])
    return file.output("a", rows, (0, 1)).output("b", np.array([1], np.int32)).save(labels="")


def efficientdet(folder: Path) -> str:
    boxes, scores = zeros(1, 10, 4), zeros(1, 10)
    boxes[0, 0] = (CORNERS / 64)[[1, 0, 3, 2]]
    file = Export(folder, kind=np.uint8, layout="NHWC", scale=1 / 255).output("a", boxes)
    file = file.output("b", np.ones((1, 10), np.float32)).output("c", scores, (0, 0))
    return file.output("d", np.array([1], np.float32)).save()


def torchvision(folder: Path) -> str:
    boxes, scores = zeros(2, 4), zeros(2)
    boxes[0] = CORNERS
    file = Export(folder).output("boxes", boxes).output("labels", np.full(2, 2, np.int64))
    return file.output("scores", scores, (0,)).save("background\nred\nblue\n")


def detection_output(folder: Path) -> str:
    rows = zeros(1, 1, 2, 7)
    rows[0, 0, 0], rows[0, 0, 1, 0] = (0, 2, 0, *(CORNERS / 64)), -1
    return Export(folder, scale=1 / 255).output("a", rows, (0, 0, 0, 2)).save("background\nred\nblue\n")


def libreyolo(folder: Path) -> str:
    array = zeros(1, 6, CELLS)
    array[0, :4, 7] = CORNERS
    file = Export(folder).output("output", array, (0, 5, 7))
    file = file.metadata(libreyolo_version="1.6.0", model_family="yolo9", task="detect")
    return file.metadata(names='{"0": "red", "1": "blue"}').save(labels="")


class Case(NamedTuple):
    """score: of the object that a file of the family finds in PICTURE."""

    make: Callable[[Path], str]
    format: str
    score: float


# DETR's softmax of three logits: -20, the score, 0.
_DETR = np.exp(RED_BY_IMAGENET) / (np.exp(RED_BY_IMAGENET) + 1)
CASES = [
    Case(yolov8, "yolov8", RED),
    Case(yolov5, "yolov5", RED),
    Case(yolo_rows, "yolo-rows", RED),
    Case(yolox, "yolox", BLUE),
    Case(yolox_of_offsets, "yolox", BLUE),
    Case(yolov6, "yolov6", RED),
    Case(yolo_nas, "yolo-nas", RED),
    Case(yolo_nas_flat, "yolo-nas", RED),
    Case(yolo_nas_batch, "yolo-nas", RED),
    Case(rf_detr, "rf-detr", RED_BY_IMAGENET / 2),
    Case(rt_detr, "rt-detr", RED),
    Case(rt_detr_by_ultralytics, "rt-detr", RED),
    Case(rt_detr_by_transformers, "rt-detr", RED),
    Case(detr, "detr", float(_DETR)),
    Case(nanodet, "nanodet", BLUE_BY_IMAGENET),
    Case(paddle, "paddle", RED_BY_IMAGENET / 2),
    Case(paddle_rows, "paddle", RED),
    Case(efficientdet, "efficientdet", RED),
    Case(torchvision, "torchvision", RED),
    Case(libreyolo, "libreyolo", RED),
    Case(detection_output, "detection-output", BLUE),
]
