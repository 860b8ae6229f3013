"""`tidegate model`: what it prints of a file, the boxes that it draws, and the device that it compiles for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.video import pictures
from tests.support.processes.command_line import tidegate
from tests.support.servers.inference_server import InferenceServer
from tests.support.video.exports import Export
from tests.support.video.onnx_exports import OnnxExport
from tests.support.without_extras import python, without


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
    assert shown["runtime"].startswith("OpenVINO on cpu, ")
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


def test_show_takes_the_address_of_a_server(file: str, tmp_path: Path) -> None:
    with InferenceServer(Path(file), "yard", properties={"names": "{0: 'red', 1: 'blue'}"}) as server:
        lines = tidegate(tmp_path, "model", "show", f"triton://{server.target}/yard").stdout.splitlines()
    shown = {line[:14].strip(): line[14:] for line in lines}
    assert shown["format"] == "yolov8" and shown["runtime"] == "on a server, batches of up to 8"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FILE", "--save", "boxes.jpg"], "give one by --picture"),
        (["FILE", "--format", "yolox"], "is not of CV_MODEL_FORMAT=yolox"),
        (["FILE", "--picture", "FILE"], "can't be read"),
        (["openvino:ssd_mobilenet_v2_coco"], "no .onnx or .xml file"),
        (["/models/missing.onnx"], "there is no /models/missing.onnx"),
        (["/models/detector.engine"], "can run code"),
        (["FILE", "--device", "cuda"], "can't run on cuda by ONNX Runtime: export the model as .onnx"),
        (["FILE", "--device", "intel-gpu:7"], "device intel-gpu:7 can't be used: OpenVINO sees CPU"),
        (["FILE", "--device", "gpu"], "device 'gpu' is not known: take cpu, cuda, "),
    ],
)
def test_a_wrong_turn_is_named(file: str, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = tidegate(tmp_path, "model", "show", *[file if a == "FILE" else a for a in arguments], check=False)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_prepare_compiles_as_a_worker_would(file: str, tmp_path: Path) -> None:
    ready, advice = tidegate(tmp_path, "model", "prepare", file, "--precision", "f32").stdout.splitlines()
    assert ready.startswith("OpenVINO on cpu, f32: ready in ")
    assert advice.startswith("nothing to prepare: cpu compiles the file at each start")


def test_onnx_runtime_is_an_extra(tmp_path: Path) -> None:
    path = OnnxExport(tmp_path).output("output0", np.zeros((6, 84), np.float32)).save()
    arguments = ["-m", "tidegate", "model", "show", path, "--runtime", "onnxruntime"]
    packages = without(tmp_path / "packages", "onnxruntime")
    done = python(packages, *arguments)
    assert "device cpu can't be used: onnxruntime not installed: " in done.stderr and "cv-onnx" in done.stderr
    assert python(packages, *arguments[:-2]).returncode == 0, "OpenVINO needs none of it"


def test_doctor_has_the_devices_of_each_runtime(tmp_path: Path) -> None:
    found = [line.split("\t") for line in tidegate(tmp_path, "doctor", check=False).stdout.splitlines()]
    rows = {(level, what, text) for level, what, text, _ in found if what.startswith("detectors' files")}
    assert any(row[2].startswith("OpenVINO on cpu") for row in rows)
    assert any(row[2].startswith("ONNX Runtime on cpu") for row in rows)
