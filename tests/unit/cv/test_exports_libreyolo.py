"""Files of libreyolo: the metadata come before shapes and names, which it uses in its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.cv import coco
from services.cv.detectors import load
from services.cv.detectors.exports.detector import ExportedDetector
from shared.runtime.errors import ModelError
from tests.support.video.exports import Export

PICTURE = np.full((64, 64, 3), (200, 0, 150), np.uint8)
RED, BLUE = 200 / 255, 150 / 255
# Cells of strides 8, 16 and 32 in a picture of 64x64, and of 64 too.
CELLS, MORE_CELLS = 84, 85
BOX = (0.25, 0.5, 0.5, 1.0)
CORNERS, CENTRE = np.array([16, 32, 32, 64], np.float32), np.array([24, 48, 16, 32], np.float32)


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def of(file: Export, family: str, **more: str) -> ExportedDetector:
    values = {"libreyolo_version": "1.6.0", "model_family": family, "task": "detect"} | more
    names = {"names": json.dumps({"0": "red", "1": "blue"})}
    detector = load(file.metadata(**(names | values)).save(labels=""), min_score=0.3)
    assert isinstance(detector, ExportedDetector)
    return detector


def finds_blue(detector: ExportedDetector, score: float) -> None:
    assert detector.reading.format == "libreyolo"
    (found,) = detector.detect([PICTURE])
    assert [(o.label, o.box) for o in found] == [("blue", BOX)]
    assert found[0].score == pytest.approx(score, abs=0.01)


def yolo9(folder: Path) -> Export:
    array = zeros(1, 6, CELLS)
    array[0, :4, 7] = CORNERS
    return Export(folder).output("output", array, (0, 5, 7))


def test_yolo9_has_corners_in_a_letterbox_at_the_top_left(tmp_path: Path) -> None:
    detector = of(yolo9(tmp_path), "yolo9")
    finds_blue(detector, RED)
    assert detector.reading.picture.fit == "letterboxed at the top left"
    assert of(yolo9(tmp_path), "yolo9", letterbox_pad="center").reading.picture.fit == "letterboxed"


@pytest.mark.parametrize(("family", "objects"), [("yolonas", 1), ("ppyoloe", 2)])
def test_boxes_overlap_by_their_parts_in_the_picture(family: str, objects: int, tmp_path: Path) -> None:
    """Its own code clips boxes to the picture before it suppresses overlaps, but those of PP-YOLOE afterwards."""
    boxes, scores = zeros(1, CELLS, 4), zeros(1, CELLS, 2)
    boxes[0, :2], scores[0, :2, 1] = [(0, 16, 32, 48), (-64, 16, 32, 48)], (0.9, 0.8)
    detector = of(Export(tmp_path).output("pred_logits", boxes).output("pred_boxes", scores), family)
    (found,) = detector.detect([PICTURE])
    assert [o.box for o in found] == [(0, 0.25, 0.5, 0.75)] * objects


def test_suppression_in_the_file_is_not_used(tmp_path: Path) -> None:
    """Its limits were chosen at export, and its boxes are those of a square picture."""
    array = zeros(1, 6, CELLS)
    array[0, :4, 7] = CORNERS
    file = Export(tmp_path).output("output", zeros(1, 300, 6)).output("raw", array, (0, 5, 7))
    finds_blue(of(file, "yolo9", nms="true"), RED)


def test_yolo_nas_has_boxes_in_an_output_named_logits(tmp_path: Path) -> None:
    boxes, scores = zeros(1, CELLS, 4), zeros(1, CELLS, 2)
    boxes[0, 5] = CORNERS
    file = Export(tmp_path).output("pred_logits", boxes).output("pred_boxes", scores, (0, 5, 1))
    finds_blue(of(file, "yolonas"), RED)


def test_picodet_has_one_array_of_corners_and_scores(tmp_path: Path) -> None:
    array = zeros(1, MORE_CELLS, 6)
    array[0, 5, :4] = CORNERS
    finds_blue(of(Export(tmp_path, scale=0.5).output("output", array, (0, 5, 5)), "picodet"), 0.65)


def test_yolox_has_objectness(tmp_path: Path) -> None:
    array = zeros(1, CELLS, 7)
    array[0, 11, :5] = (*CENTRE, 1)
    finds_blue(of(Export(tmp_path, scale=1 / 255).output("output", array, (0, 11, 6)), "yolox"), BLUE)


def test_dfine_has_logits_and_boxes(tmp_path: Path) -> None:
    boxes, logits = zeros(1, 10, 4), np.full((1, 10, 2), -9, np.float32)
    boxes[0, 3], logits[0, 3, 1] = CENTRE / 64, 0
    file = Export(tmp_path).output("pred_logits", logits, (0, 3, 1), logit=True).output("pred_boxes", boxes)
    finds_blue(of(file, "dfine"), RED)


def test_rf_detr_of_coco_has_its_ids(tmp_path: Path) -> None:
    boxes, logits = zeros(1, 10, 4), np.full((1, 10, 91), -9, np.float32)
    boxes[0, 3], logits[0, 3, 90] = CENTRE / 64, 9
    # An id that COCO does not use.
    boxes[0, 4], logits[0, 4, 12] = CENTRE / 64, 9
    file = Export(tmp_path).output("dets", boxes).output("labels", logits, (0, 0, 0))
    detector = of(file, "rfdetr", names=json.dumps(dict(enumerate(coco.LABELS))))
    (found,) = detector.detect([PICTURE])
    assert [o.label for o in found if o.score > 0.9] == ["toothbrush"]


def test_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'centernet' of libreyolo, in a layout that is not known here: export one of"):
        of(yolo9(tmp_path), "centernet")


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no known layout"):
        of(yolo9(tmp_path), "dfine")


def test_metadata_may_be_in_a_file_next_to_an_xml(tmp_path: Path) -> None:
    path = yolo9(tmp_path).save(labels="")
    (tmp_path / "metadata.yaml").write_text(
        "libreyolo_version: 1.6.0\nmodel_family: yolo9\ntask: detect\nnames: {0: red, 1: blue}\n"
    )
    detector = load(path)
    assert isinstance(detector, ExportedDetector)
    finds_blue(detector, RED)
