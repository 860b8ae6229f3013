"""Detectors on an inference server: the same objects as from the file, and each wrong turn in words."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from services.cv import model_spec
from services.cv.detectors import load, missing
from services.cv.detectors.exports.detector import ExportedDetector
from services.cv.detectors.kserve import tensors
from services.cv.detectors.kserve.client import Client
from services.cv.detectors.kserve.inference_pb2 import InferTensorContents
from services.cv.remote import parse
from services.cv.settings import CvSettings
from shared.runtime.errors import Away, ModelError
from tests.support.servers.inference_server import InferenceServer
from tests.support.video.export_cases import CASES, CELLS, PICTURE, Case, yolov8, zeros
from tests.support.video.exports import Export


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_a_model_on_a_server_finds_what_its_file_finds(case: Case, raw: bool, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    local = load(path, min_score=0.0, precision="f32")
    assert isinstance(local, ExportedDetector)
    with InferenceServer(Path(path), "theirs", raw=raw, properties=dict(local.facts.metadata)) as server:
        remote = load(f"triton://{server.target}/theirs?file={path}", min_score=0.0, batch_size=3)
        assert isinstance(remote, ExportedDetector) and remote.reading.format == case.format
        assert remote.name == "theirs" and remote.labels == local.labels
        assert (remote.size, remote.within) == (local.size, local.within)
        pictures = [PICTURE, np.zeros_like(PICTURE), PICTURE, PICTURE]
        for there, here in zip(remote.detect(pictures), local.detect(pictures), strict=True):
            assert [o.label for o in there] == [o.label for o in here]
            np.testing.assert_allclose([o.score for o in there], [o.score for o in here], atol=2e-3)
            np.testing.assert_allclose([o.box for o in there], [o.box for o in here], atol=2e-3)
        assert remote.detect([]) == []


def test_batches_go_as_one_tensor_where_the_model_takes_them(tmp_path: Path) -> None:
    path = Path(yolov8(tmp_path))
    for batches, mixes, expected in ((True, False, [3, 2]), (False, False, [1] * 5), (True, True, [1] * 5)):
        with InferenceServer(path, "theirs", batches=batches, mixes=mixes) as server:
            remote = load(f"triton://{server.target}/theirs?file={path}", batch_size=3)
            server.shapes.clear()
            remote.detect([PICTURE] * 5)
            assert [shapes["images"] for shapes in server.shapes] == [(count, 3, 64, 64) for count in expected]


def test_labels_of_the_server_are_enough(tmp_path: Path) -> None:
    array = zeros(1, 6, CELLS)
    array[0, :, 7] = (32, 32, 32, 24, 0.9, 0)
    path = Path(Export(tmp_path).output("output0", array).save(labels=""))
    with InferenceServer(path, "theirs", properties={"names": "{0: 'red', 1: 'blue'}"}) as server:
        (found,) = load(f"triton://{server.target}/theirs").detect([PICTURE])
        assert [o.label for o in found] == ["red"]
    with InferenceServer(path, "theirs") as server, pytest.raises(ModelError, match=r"\?file=/models/detector.onnx"):
        load(f"triton://{server.target}/theirs")


def test_a_server_that_restarts_is_waited_for(tmp_path: Path) -> None:
    path = Path(yolov8(tmp_path))
    with InferenceServer(path, "theirs") as server:
        spec = f"triton://{server.target}/theirs?file={path}"
        assert missing(spec) is None and missing(str(path)) is None
        server.ready = False
        assert "no model theirs ready" in (missing(spec) or "")
        remote = load(spec, min_score=0.1)
        expected = remote.detect([PICTURE])
        server.stop()
        assert "unavailable" in (missing(spec) or "")
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(remote.detect([PICTURE])))
        thread.start()
        time.sleep(0.5)  # clock: the call is repeated meanwhile
        server.start()
        thread.join()
        assert found == [expected]


def test_a_server_that_stays_away_ends_the_call(tmp_path: Path) -> None:
    with InferenceServer(Path(yolov8(tmp_path)), "theirs") as server:
        client = Client(parse(f"triton://{server.target}/theirs"), away_s=0.1)
        assert client.metadata().name == "theirs"
        server.stop()
        with pytest.raises(Away, match=r"theirs at 127.0.0.1:\d+: unavailable"):
            client.infer({"images": zeros(1, 3, 64, 64)}, ["output0"])
        server.start()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("triton://gpu-1/yolo", "no address of a model"),
        ("triton://gpu-1:8001", "no address of a model"),
        ("triton://gpu-1:8001/a/b", "no address of a model"),
        ("triton://gpu-1:99999/yolo", "no address of a model"),
        ("triton://me:secret@gpu-1:8001/yolo", "has no user or password"),
        ("triton://gpu-1:8001/yolo?labels=x", "has an option 'labels': there are file, tls, version"),
        ("triton://gpu-1:8001/yolo?tls=1", "tls is true or false"),
        ("triton://gpu-1:8001/yolo?file=/nowhere/a.onnx", "there is no /nowhere"),
    ],
)
def test_a_wrong_address_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        CvSettings(cv_model=spec).check()
    assert "secret" not in str(caught.value)


def test_the_device_is_the_servers() -> None:
    with pytest.raises(ModelError, match="leave CV_DEVICE=cpu"):
        model_spec.check("triton://gpu-1:8001/yolo", "cuda")


def test_a_model_elsewhere_has_no_files_here(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"0")
    assert model_spec.paths(f"triton://gpu-1:8001/yolo?file={tmp_path}/yolo.onnx") == []


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_a_tensor_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ModelError, match=r"a tensor of the shape \(1,\) has"):
        tensors.array((1,), "FP32", bytes(size), InferTensorContents())


def test_a_model_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    path = Path(Export(tmp_path).output("probabilities", zeros(1, 1000)).save())
    with InferenceServer(path, "theirs") as server:
        with pytest.raises(ModelError, match="as a classifier: export a model that detects"):
            load(f"triton://{server.target}/theirs?file={path}")
        with pytest.raises(ModelError, match="not_found: Request for unknown model: 'yours'"):
            load(f"triton://{server.target}/yours")
