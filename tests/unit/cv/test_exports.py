"""Files of each family of exported detectors: pixels as the family wants them, and boxes where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cv.detectors import load
from services.cv.detectors.exports import decoders
from services.cv.detectors.exports.decoders import Candidates
from services.cv.detectors.exports.detector import ExportedDetector
from services.cv.detectors.exports.families import FORMATS
from shared.runtime.errors import ModelError
from tests.support.video.export_cases import (
    BOX,
    CASES,
    CELLS,
    CENTRE,
    CORNERS,
    PICTURE,
    Case,
    of_corners,
    rt_detr,
    yolov8,
    yolox,
    zeros,
)
from tests.support.video.exports import Export


def exported(path: str, **options: Any) -> ExportedDetector:
    detector = load(path, **options)
    assert isinstance(detector, ExportedDetector)
    return detector


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_a_family_is_recognised_and_finds_the_object(case: Case, tmp_path: Path) -> None:
    """The score is a mean of the picture: it is right only with the family's channels and pixel values."""
    detector = exported(case.make(tmp_path), min_score=0.2 if case.score > 0.2 else 0.0)
    assert detector.reading.format == case.format
    assert detector.labels[:2] == ("red", "blue")
    (found,) = detector.detect([PICTURE])
    best = found[0]
    assert best.label == "blue"
    assert best.score == pytest.approx(max(case.score, 0), abs=0.01)
    assert best.box == pytest.approx(BOX, abs=0.01)


def test_each_format_has_a_case() -> None:
    assert {case.format for case in CASES} == set(FORMATS)


def test_a_letterbox_keeps_boxes_in_place(tmp_path: Path) -> None:
    """A picture twice as wide as high has bars above and below, or one below, each a quarter or a half of the input."""
    wide = np.full((30, 60, 3), 90, np.uint8)
    (found,) = exported(yolov8(tmp_path), min_score=0.1).detect([wide])
    # The box is at 32 to 64 of the input. The picture is at 16 to 48, so the box is cut at its end.
    assert found[0].box == pytest.approx((0.25, 0.5, 0.5, 1.0), abs=0.01)
    (found,) = exported(yolox(tmp_path), min_score=0.1).detect([wide])
    # The picture is at 0 to 32: nothing of the box is in it.
    assert found == []
    (found,) = exported(rt_detr(tmp_path), min_score=0.1).detect([wide])
    assert found[0].box == pytest.approx(BOX, abs=0.01)


def test_a_letterboxed_detector_takes_a_decoded_frame_as_it_is(tmp_path: Path) -> None:
    detector = exported(yolov8(tmp_path))
    assert (detector.size, detector.within) == (None, (64, 64))
    assert (exported(rt_detr(tmp_path)).size, exported(rt_detr(tmp_path)).within) == ((64, 64), None)


def test_a_batch_may_have_pictures_of_several_sizes(tmp_path: Path) -> None:
    detector = exported(yolov8(tmp_path), threads=2, min_score=0.1)
    pictures = [PICTURE, PICTURE[:32], np.full((200, 100, 3), 90, np.uint8)]
    assert detector.detect(pictures) == [detector.detect([picture])[0] for picture in pictures]
    assert detector.detect([]) == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.sampled_from([0.3, 0.6, 0.7]))
def test_overlaps_are_suppressed_one_by_one(seed: int, count: int, iou: float) -> None:
    """Greedily: each candidate is left unless a better one of its class, which is left, overlaps it by more."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.integers(0, 40, (count, 2))], axis=1).astype(np.float32)
    found = Candidates(boxes, random.integers(0, 50, count) / 50, random.integers(0, 3, count))
    left: list[int] = []
    for i in np.argsort(-found.scores, kind="stable"):
        low, high = np.maximum(boxes[left, :2], boxes[i, :2]), np.minimum(boxes[left, 2:], boxes[i, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        is_over = (common > iou * (areas[left] + areas[i] - common)) & (found.ids[left] == found.ids[i])
        if not is_over.any():
            left.append(int(i))
    result = decoders.without_overlaps(found, iou)
    np.testing.assert_array_equal(result.boxes, boxes[left])
    np.testing.assert_array_equal(result.scores, found.scores[left])


def test_overlapping_boxes_of_a_class_are_one_object(tmp_path: Path) -> None:
    array = zeros(1, 6, CELLS)
    for cell, (x, score) in enumerate([(24, 0.5), (26, 0.9), (50, 0.4)]):
        array[0, :, cell] = (x, 48, 16, 32, 0, score)
    array[0, :, 9] = (26, 48, 16, 32, 0.8, 0)
    (found,) = exported(Export(tmp_path).output("output0", array).save(), min_score=0.3).detect([PICTURE])
    assert [(o.label, o.score) for o in found] == [("blue", 0.9), ("red", 0.8), ("blue", 0.4)]


LIES: dict[str, tuple[Callable[[Export], Export], str, str]] = {
    "classes": (lambda file: file.output("output0", zeros(1, 84, CELLS)), "red\nblue\n", "2 labels of"),
    "segmentation": (
        lambda file: file.output("output0", zeros(1, 38, CELLS)).output("output1", zeros(1, 32, 16, 16)),
        "red\nblue\n",
        "segments pictures",
    ),
    "pose": (lambda file: file.output("output0", zeros(1, 6, CELLS)).metadata(task="pose"), "red\nblue\n", "'pose'"),
    "classifier": (lambda file: file.output("output0", zeros(1, 1000)), "red\nblue\n", "as a classifier"),
    "boxes elsewhere": (
        lambda file: file.output("dets", zeros(1, 10, 4) + 30).output("labels", zeros(1, 10, 2)),
        "red\nblue\n",
        "leave the picture, such as",
    ),
    "no numbers": (
        lambda file: file.output("dets", zeros(1, 10, 4) * np.nan).output("labels", zeros(1, 10, 2)),
        "red\nblue\n",
        "no numbers",
    ),
    "corners for centres": (
        lambda file: file.output("output0", of_corners()),
        "red\nblue\n",
        "corners where that has centre and size",
    ),
    "logits as scores": (lambda file: file.output("output0", zeros(1, 6, CELLS) + 7), "red\nblue\n", "a score of 7"),
    "no labels": (lambda file: file.output("output0", zeros(1, 6, CELLS)), "", "Write its labels in"),
    "metadata that is no mapping": (
        lambda file: file.output("output0", zeros(1, 6, CELLS)).metadata(names="__import__('os')"),
        "",
        "names no labels",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_about_itself_is_refused_in_words(lie: str, tmp_path: Path) -> None:
    make, labels, message = LIES[lie]
    path = make(Export(tmp_path)).save(labels)
    with pytest.raises(ModelError, match=message):
        load(path)


def test_a_format_that_a_file_does_not_have_is_refused(tmp_path: Path) -> None:
    path = yolov8(tmp_path)
    with pytest.raises(ModelError, match="not of CV_MODEL_FORMAT=yolox"):
        load(path, format="yolox")
    with pytest.raises(ModelError, match=", ".join(FORMATS)):
        load(path, format="yolo-x")
    assert exported(path, format="yolov8").reading.format == "yolov8"


def test_two_readings_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    """With two classes, RT-DETR by Ultralytics has rows of six values, as finished objects have."""
    array = zeros(1, 300, 6)
    array[0, 0] = (*CORNERS / 64, 0.9, 1)
    file = Export(tmp_path).output("output0", array).metadata(names="{0: 'red', 1: 'blue'}", stride="32")
    path = file.save(labels="")
    with pytest.raises(ModelError, match="may be of rt-detr or yolo-rows: set CV_MODEL_FORMAT"):
        load(path)
    assert exported(path, format="rt-detr").reading.format == "rt-detr"
    assert exported(path, format="yolo-rows").reading.format == "yolo-rows"
    described = file.metadata(description="Ultralytics YOLOv10n model trained on ours.yaml").save(labels="")
    assert exported(described).reading.format == "yolo-rows"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.txt", "red\nblue\n"),
        ("model.yaml", "names: [red, blue]"),
        ("metadata.yaml", "names: {0: red, 1: blue}"),
        ("data.yaml", "nc: 2\nnames:\n- red\n- blue"),
        ("config.json", '{"id2label": {"0": "red", "1": "blue"}}'),
    ],
)
def test_labels_are_found_next_to_the_file(name: str, text: str, tmp_path: Path) -> None:
    array = zeros(1, 6, CELLS)
    path = Export(tmp_path).output("output0", array).save(labels="")
    (tmp_path / name).write_text(text)
    detector = exported(path)
    assert detector.labels == ("red", "blue")
    assert detector.reading.labels.source.endswith(name)


@pytest.mark.parametrize("name", ["model.yaml", "config.json"])
def test_labels_that_cannot_be_read_are_refused(name: str, tmp_path: Path) -> None:
    path = Export(tmp_path).output("output0", zeros(1, 6, CELLS)).save(labels="")
    (tmp_path / name).write_text('{"names": {"one": "red"}, "id2label": {"-1": "red"}}')
    with pytest.raises(ModelError, match=name):
        load(path)


def test_eighty_classes_without_labels_are_cocos(tmp_path: Path) -> None:
    path = Export(tmp_path, size=(96, 64)).output("output0", zeros(1, 84, 126)).save(labels="")
    detector = exported(path)
    assert (len(detector.labels), detector.labels[0], detector.labels[79]) == (80, "person", "toothbrush")
    assert "COCO, as there are 80 classes" in detector.reading.labels.source


def test_an_id_that_coco_does_not_use_is_no_object(tmp_path: Path) -> None:
    """Of 91 logits, id 0 and ten others are of no class. RF-DETR's own code gives them no name."""
    boxes, logits = zeros(1, 10, 4), np.full((1, 10, 91), -9, np.float32)
    boxes[0, :3], logits[0, range(3), [0, 12, 90]] = CENTRE / 64, 9
    path = Export(tmp_path).output("dets", boxes).output("labels", logits).save(labels="")
    (found,) = exported(path).detect([PICTURE])
    assert [(o.label, o.box) for o in found] == [("toothbrush", BOX)]
