"""`tidegate model show`: what it prints of a file, and the boxes that it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.video import pictures
from tests.support.processes.command_line import tidegate
from tests.support.video.exports import Export


@pytest.fixture
def file(tmp_path: Path) -> str:
    array = np.zeros((1, 6, 84), np.float32)
    array[0, :, 7] = (32, 32, 32, 24, 0.9, 0)
    return Export(tmp_path).output("output0", array).metadata(names="{0: 'red', 1: 'blue'}").save(labels="")


def test_show_says_how_a_file_is_used(file: str, tmp_path: Path) -> None:
    lines = tidegate(tmp_path, "model", "show", file).stdout.splitlines()
    shown = {line[:14].strip(): line[14:] for line in lines}
    assert shown["format"] == "yolov8"
    assert shown["picture"] == "64x64, RGB, 0 to 1, letterboxed"
    assert shown["labels"] == "2 of the file's metadata: red, blue"
    assert "84 cells" in shown["evidence"] and shown["time"].endswith("ms a picture, 1 thread")


def test_show_draws_the_boxes_of_a_picture(file: str, tmp_path: Path) -> None:
    picture, boxes = tmp_path / "yard.jpg", tmp_path / "boxes.jpg"
    picture.write_bytes(pictures.jpeg(np.full((60, 120, 3), 90, np.uint8)))
    done = tidegate(tmp_path, "model", "show", file, "--picture", str(picture), "--save", str(boxes))
    # The picture is at rows 16 to 48 of the input, the box at 20 to 44.
    assert done.stdout.splitlines()[-1] == "red           0.90 at 0.250, 0.125, 0.750, 0.875"
    drawn = pictures.read(boxes.read_bytes())
    assert abs(int(drawn[30, 30, 2]) - 90) > 40 and abs(int(drawn[30, 60, 2]) - 90) < 10
    nothing = tidegate(tmp_path, "model", "show", file, "--picture", str(picture), "--min-score", "0.95")
    assert nothing.stdout.splitlines()[-1] == "no object of a score of 0.95 or more"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FILE", "--save", "boxes.jpg"], "give one by --picture"),
        (["FILE", "--format", "yolox"], "is not of CV_MODEL_FORMAT=yolox"),
        (["FILE", "--picture", "FILE"], "can't be read"),
        (["openvino:ssd_mobilenet_v2_coco"], "no .onnx or .xml file"),
        (["/models/missing.onnx"], "there is no /models/missing.onnx"),
        (["/models/detector.engine"], "can run code"),
    ],
)
def test_a_wrong_turn_is_named(file: str, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = tidegate(tmp_path, "model", "show", *[file if a == "FILE" else a for a in arguments], check=False)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
