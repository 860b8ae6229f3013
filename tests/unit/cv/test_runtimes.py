"""ONNX Runtime on a CPU finds what OpenVINO finds in float32, in batches of any size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino as ov
import pytest
from onnx import TensorProto

from services.cv.detectors import load
from services.cv.detectors.exports import decoders
from services.cv.detectors.exports.detector import ExportedDetector
from shared.models.runtimes import openvino
from shared.runtime.errors import ModelError
from shared.video.decode import Image
from tests.support.video.exports import Export
from tests.support.video.onnx_exports import OnnxExport
from tests.support.video.precision import reduced

CELLS = 84
BOX, CENTRE = (0.25, 0.5, 0.5, 1.0), np.array([24, 48, 16, 32], np.float32)
# Pictures whose means differ by channel, and of other sizes than the input.
PICTURES = [
    np.random.default_rng(n).integers(20 * n, 40 + 20 * n, (64 + 8 * n, 64 + 16 * (n % 3), 3), np.uint8) + np.uint8(n)
    for n in range(5)
]
PICTURES[1][..., 0] += 60
PICTURES[3][..., 2] += 90


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def yolov8(folder: Path, **options: Any) -> str:
    array = zeros(6, CELLS)
    array[:4, 7] = CENTRE
    return OnnxExport(folder, **options).output("output0", array, (5, 7)).save()


def yolox(folder: Path, **options: Any) -> str:
    """BGR, 0 to 255, letterboxed at the top left."""
    array = zeros(CELLS, 7)
    cells = decoders.grid((64, 64), (8, 16, 32))
    array[:, :2], array[:, 2:4], array[:, 4] = (cells[:, :2] + 0.5) * cells[:, 2:], cells[:, 2:], 0.5
    array[11, :5] = (*CENTRE, 1)
    return OnnxExport(folder, scale=1 / 255, **options).output("output", array, (11, 6)).save()


def rf_detr(folder: Path, **options: Any) -> str:
    """Mean and deviation of ImageNet."""
    boxes, logits = zeros(10, 4), np.full((10, 3), -9, np.float32)
    boxes[3], logits[3, 1] = CENTRE / 64, 0
    return OnnxExport(folder, **options).output("dets", boxes).output("labels", logits, (3, 1)).save()


def rt_detr(folder: Path, **options: Any) -> str:
    """Its second input is a constant for each picture."""
    boxes, scores = zeros(10, 4), zeros(10)
    boxes[2] = (0.25, 0.5, 0.5, 1)
    file = OnnxExport(folder, **options).input("orig_target_sizes", [options.get("batch", "N"), 2], TensorProto.INT64)
    return file.output("labels", np.ones(10, np.int64)).output("boxes", boxes).output("scores", scores, (2,)).save()


def of_paddle(folder: Path, **options: Any) -> str:
    """Boxes and scores by cell, with a second input of one picture, whatever the batch."""
    boxes, scores = zeros(85, 4), zeros(2, 85)
    boxes[5] = (16, 32, 32, 64)
    (folder / "infer_cfg.yml").write_text(
        json.dumps({"Preprocess": [{"type": "Resize", "keep_ratio": False}], "label_list": ["red", "blue"]})
    )
    file = OnnxExport(folder, scale=1 / 255, **options).input("scale_factor", [1, 2])
    return file.output("a", boxes).output("b", scores, (1, 5)).save(labels="")


def in_bytes(folder: Path, **options: Any) -> str:
    """YOLO-NAS with steps for pixels in the file."""
    return yolo_nas(folder, kind=TensorProto.UINT8, **options)


def yolo_nas(folder: Path, **options: Any) -> str:
    boxes, scores = zeros(CELLS, 4), zeros(CELLS, 2)
    boxes[5] = (16, 32, 32, 64)
    file = OnnxExport(folder, scale=1 / 255 if options.get("kind") == TensorProto.UINT8 else 1.0, **options)
    return file.output("a", boxes).output("b", scores, (5, 1)).save()


def in_halves(folder: Path, **options: Any) -> str:
    return yolo_nas(folder, kind=TensorProto.FLOAT16, **options)


MAKERS: list[Callable[..., str]] = [yolov8, yolox, rf_detr, rt_detr, of_paddle, yolo_nas]


def exported(path: str, **options: Any) -> ExportedDetector:
    detector = load(path, min_score=0.01, **options)
    assert isinstance(detector, ExportedDetector)
    return detector


def fitted(images: list[Image], detector: ExportedDetector) -> list[Image]:
    """Return the images as the worker's decoder gives them: of the detector's size if it has one."""
    return [image[:64, :64] for image in images] if detector.size else images


def same(path: str, **options: Any) -> ExportedDetector:
    """Check that both runtimes find the same in a batch; return the detector of ONNX Runtime."""
    ours, theirs = exported(path, runtime="onnxruntime", **options), exported(path, precision="f32")
    images = fitted(PICTURES, ours)
    found = list(zip(ours.detect(images), theirs.detect(images), strict=True))
    assert len({objects[0].score for objects, _ in found}) == len(images)
    for objects, wanted in found:
        assert [o.label for o in objects] == [o.label for o in wanted]
        for a, b in zip(objects, wanted, strict=True):
            # Events have four decimals.
            assert a.score == pytest.approx(b.score, abs=1.01e-4)
            assert a.box == pytest.approx(b.box, abs=1.01e-4)
    assert ours.detect(images) == [ours.detect([image])[0] for image in images]
    assert ours.detect([]) == []
    return ours


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_both_runtimes_find_the_same_in_an_open_batch(make: Callable[..., str], tmp_path: Path) -> None:
    assert same(make(tmp_path)).runtime.description.endswith("batches of up to 8")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("make", [yolov8, rt_detr], ids=lambda make: make.__name__)
def test_a_fixed_batch_is_filled(make: Callable[..., str], batch: int, tmp_path: Path) -> None:
    detector = same(make(tmp_path, batch=batch))
    assert detector.runtime.description.endswith("batches of one" if batch == 1 else "batches of 3")


@pytest.mark.parametrize("make", [in_bytes, in_halves], ids=lambda make: make.__name__)
def test_pixels_are_of_the_type_of_the_file(make: Callable[..., str], tmp_path: Path) -> None:
    ours, theirs = exported(make(tmp_path), runtime="onnxruntime"), exported(make(tmp_path), precision="f32")
    for objects, wanted in zip(ours.detect(PICTURES), theirs.detect(PICTURES), strict=True):
        # Half precision has three digits.
        assert objects[0].score == pytest.approx(wanted[0].score, abs=2e-3)
        assert objects[0].box == wanted[0].box


def test_a_batch_that_is_larger_than_the_setting_is_several(tmp_path: Path) -> None:
    assert same(yolov8(tmp_path), batch_size=2).runtime.description.endswith("batches of up to 2")
    assert same(yolov8(tmp_path), batch_size=1).runtime.description.endswith("batches of one")


@pytest.mark.parametrize("shared", ["mixed", "merged"])
def test_a_batch_that_mixes_its_images_is_not_used(shared: str, tmp_path: Path) -> None:
    """The axis is open, but the images are no longer apart: each runs alone."""
    assert same(yolov8(tmp_path, shared=shared)).runtime.description.endswith("batches of one")


def test_a_fixed_batch_that_mixes_its_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mixes the images of a batch: export a batch of one"):
        exported(yolov8(tmp_path, shared="mixed", batch=2), runtime="onnxruntime")


def test_an_image_with_channels_last(tmp_path: Path) -> None:
    boxes, scores = zeros(10, 4), zeros(10)
    boxes[0] = (0.5, 0.25, 1, 0.5)
    file = OnnxExport(tmp_path, layout="NHWC", batch=1, kind=TensorProto.UINT8, scale=1 / 255).output("a", boxes)
    file = file.output("b", np.ones(10, np.float32)).output("c", scores, (0,))
    detector = same(file.output("d", np.array(1, np.float32)).save())
    assert detector.reading.format == "efficientdet"


def test_an_image_without_an_axis_of_the_batch(tmp_path: Path) -> None:
    """As torchvision exports it: the outputs have no such axis either."""
    file = OnnxExport(tmp_path, layout="CHW", batch=1)
    boxes, scores = zeros(2, 4), zeros(2)
    boxes[0] = (16, 32, 32, 64)
    file = file.output("boxes", boxes).output("labels", np.full(2, 2, np.int64)).output("scores", scores, (0,))
    assert same(file.save("background\nred\nblue\n")).reading.format == "torchvision"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "intel-gpu:3"}, "OpenVINO sees CPU.*: install Intel's driver"),
        ({"device": "intel-npu", "runtime": "onnxruntime"}, "CV_RUNTIME=onnxruntime has no device intel-npu"),
        ({"runtime": "tflite"}, "CV_RUNTIME=tflite is not known: take openvino or onnxruntime"),
        ({"device": "cuda", "runtime": "openvino"}, "CV_RUNTIME=openvino has no device cuda"),
        ({"runtime": "onnxruntime", "precision": "f16"}, "ONNX Runtime on cpu offers f32 here: leave it empty"),
        ({"precision": "int8"}, "int8 needs a quantised file"),
        ({"precision": "f64"}, "CV_PRECISION=f64 is not known: take f32, bf16, f16"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_a_device_that_is_not_here_is_refused_with_the_remedy(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        load(yolov8(tmp_path), **options)


@pytest.mark.skipif(len(ort.get_available_providers()) > 2, reason="this onnxruntime has providers of a GPU")
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "no CUDAExecutionProvider: pip uninstall onnxruntime, then pip install onnxruntime-gpu"),
        ("tensorrt:1", "no TensorrtExecutionProvider: .*onnxruntime-gpu"),
        ("rocm", "no MIGraphXExecutionProvider: .*onnxruntime-migraphx"),
    ],
)
def test_onnx_runtime_without_the_provider_of_a_gpu_is_refused(device: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load(yolov8(tmp_path), device=device)


def test_a_file_of_openvino_is_refused_by_onnx_runtime(tmp_path: Path) -> None:
    path = Export(tmp_path).output("output0", zeros(1, 6, CELLS)).save()
    with pytest.raises(ModelError, match=r"export the model as \.onnx"):
        load(path, runtime="onnxruntime")


@pytest.mark.parametrize(
    ("cpu_info", "chosen"),
    [
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_tile amx_bf16\n", "bf16"),
        ("vendor_id\t: GenuineIntel\nmodel name\t: no flag: amx_bf16\nflags\t\t: fpu avx512_bf16\n", "f32"),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16\n", "bf16"),
        (None, "f32"),
    ],
    ids=["Intel with AMX", "Intel without AMX", "AMD", "unknown"],
)
def test_a_cpu_computes_in_bf16_where_that_is_fast(cpu_info: str | None, chosen: str, tmp_path: Path) -> None:
    if cpu_info is not None:
        (tmp_path / "cpuinfo").write_text(cpu_info)
    offered = reduced() == "bf16"
    assert openvino.precision(ov.Core(), tmp_path / "cpuinfo") == (chosen if offered else "f32")


def test_each_precision_of_openvino_is_the_one_that_runs(tmp_path: Path) -> None:
    """A CPU without bfloat16 refuses it, and names what it has."""
    path = yolov8(tmp_path)
    assert exported(path, precision="f32").runtime.description == "OpenVINO on cpu, f32"
    for precision in ("bf16", "f16"):
        try:
            assert exported(path, precision=precision).runtime.description == f"OpenVINO on cpu, {precision}"
        except ModelError as e:
            assert "OpenVINO on cpu offers f32" in str(e)
