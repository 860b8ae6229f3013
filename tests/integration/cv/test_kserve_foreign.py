"""A detector on MLServer, another implementation of the Open Inference Protocol, in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.cv.detectors import load, missing
from services.cv.detectors.exports.detector import ExportedDetector
from shared.runtime.ports import free_port
from tests.support.made_once import cached_file
from tests.support.uv_commands import run, uv
from tests.support.waiting import until

pytestmark = [pytest.mark.foreign, pytest.mark.slow]

MODEL = '''
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Detector(MLModel):
    """YOLOv8's layout, with one box whose score is the picture's mean."""

    async def predict(self, payload):
        images = NumpyCodec.decode_input(payload.inputs[0])
        found = np.zeros((len(images), 6, 84), np.float32)
        found[:, :4, 7] = (32, 32, 32, 24)
        found[:, 4, 7] = images.mean(axis=(1, 2, 3))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output0", found)])
'''
SETTINGS = {
    "name": "theirs",
    "implementation": "serve.Detector",
    "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 64, 64]}],
    "outputs": [{"name": "output0", "datatype": "FP32", "shape": [-1, 6, 84]}],
}


@pytest.fixture
def mlserver(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[str]:
    """The address of a running MLServer: host:port."""
    wanted = subprocess.run([uv(), "python", "find", "--no-python-downloads", ">=3.11,<3.13"], capture_output=True)
    if wanted.returncode:
        pytest.skip("MLServer needs Python 3.11 or 3.12, and there is none here")

    def make(folder: Path) -> None:
        run([uv(), "venv", "--quiet", "--python", wanted.stdout.decode().strip(), str(folder)])
        run([uv(), "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "mlserver>=1.7"])

    environment = cached_file(tmp_path_factory, "mlserver", make)
    (tmp_path / "serve.py").write_text(MODEL)
    (tmp_path / "model-settings.json").write_text(json.dumps(SETTINGS))
    ports = {name: free_port(0) for name in ("http_port", "grpc_port", "metrics_port")}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    process = subprocess.Popen([environment / "bin" / "mlserver", "start", str(tmp_path)])
    yield f"127.0.0.1:{ports['grpc_port']}"
    process.terminate()
    process.wait()


async def test_a_batch_on_mlserver_gives_the_boxes_of_each_image(mlserver: str, tmp_path: Path) -> None:
    (tmp_path / "detector.labels.txt").write_text("red\nblue\n")
    spec = f"triton://{mlserver}/theirs?file={tmp_path}/detector.onnx"
    await until(lambda: missing(spec) is None)
    detector = load(spec, batch_size=4, min_score=0.1)
    assert isinstance(detector, ExportedDetector) and detector.reading.format == "yolov8"
    found = detector.detect([np.full((64, 64, 3), value, np.uint8) for value in (51, 102, 153, 204, 255)])
    assert [round(objects[0].score, 3) for objects in found] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert {(objects[0].label, objects[0].box) for objects in found} == {("red", (0.25, 0.3125, 0.75, 0.6875))}
