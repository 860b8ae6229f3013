"""Models by name: what CV_MODELS takes, and which detector a camera gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.cv import model_names
from services.cv.detectors import Detection
from services.cv.models import Models
from services.cv.settings import CvSettings
from shared.contract import cameras
from shared.contract.cameras import Camera, new_camera
from shared.runtime.errors import ModelError, SettingError
from shared.video.decode import Image

NAMES = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
SPECS = st.sampled_from(["/models/a.onnx", "hf:/models/yard", "triton://gpu-1:8001/m?file=/models/m.onnx", "mine:x"])


class Fixed:
    """A detector of a name."""

    labels: tuple[str, ...] = ("person",)
    size: tuple[int, int] | None = (8, 8)
    within = None

    def __init__(self, name: str, **fields: Any) -> None:
        self.name = name
        vars(self).update(fields)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [[] for _ in images]


def unknown() -> float:
    return REGISTRY.get_sample_value("tidegate_unknown_model_segments_total") or 0.0


@given(st.dictionaries(NAMES, SPECS, max_size=model_names.MOST), st.sampled_from([",", " , ", ",\n  ", ",,"]))
def test_what_is_written_is_read(models: dict[str, str], comma: str) -> None:
    assert model_names.parse(comma.join(f"{name} = {spec}" for name, spec in models.items())) == models


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("plates", "CV_MODELS has plates without a model: give plates=/models/plates.onnx"),
        ("plates=", "CV_MODELS has plates without a model"),
        ("=/models/plates.onnx", "CV_MODELS: model name '' can't be used"),
        ("/models/plates.onnx", "CV_MODELS: model name '/models/plates.onnx' can't be used"),
        ("a b=x", "CV_MODELS: model name 'a b' can't be used"),
        ("a=x,b=y,a=z", "CV_MODELS has a twice"),
        (",".join(f"m{n}=x" for n in range(9)), "CV_MODELS has 9 models: give at most 8"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text: str, reason: str) -> None:
    with pytest.raises(SettingError) as error:
        CvSettings(cv_models=text).check()
    assert reason in str(error.value)


def test_a_missing_file_is_found_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"CV_MODELS: plates: /no/m.onnx: there is no /no/m.onnx.*correct the path"):
        CvSettings(cv_models="plates=/no/m.onnx").check()


def test_a_camera_gets_the_model_that_it_names() -> None:
    models = Models(default := Fixed("ssd"), {"plates": (plates := Fixed("plates-v2"))})
    assert models.of("gate", "plates") is plates and models.of("yard", None) is default


def test_an_unknown_name_is_counted_and_logged_once_for_each_camera_and_name() -> None:
    models, before = Models(default := Fixed("ssd"), {"plates": Fixed("plates-v2")}), unknown()
    with structlog.testing.capture_logs() as logs:
        for camera, name in (("gate", "faces"), ("gate", "faces"), ("yard", "faces"), ("gate", "plate")):
            assert models.of(camera, name) is default
    assert unknown() - before == 4
    assert [(log["camera"], log["model"]) for log in logs] == [("gate", "faces"), ("yard", "faces"), ("gate", "plate")]
    assert "tidegate camera set gate --unset model" in logs[0]["remedy"]


def test_two_detectors_of_one_name_in_events_are_refused() -> None:
    with pytest.raises(ModelError, match="CV_MODELS: b and a are both model in events: rename the file of one"):
        Models(Fixed("ssd"), {"a": Fixed("model"), "b": Fixed("model")})
    same = Fixed("ssd")
    assert Models(same, {"general": same}).of("gate", "general") is same


@given(st.text(max_size=80))
def test_only_names_are_models_of_cameras(text: str) -> None:
    """Neither a command nor an entry in the bucket can give a path or a spec."""
    entry = msgspec.json.encode({"url": "rtsp://h", "model": text})
    try:
        camera, _ = new_camera("rtsp://h", model=text)
    except SettingError:
        with pytest.raises(SettingError, match="entry in bucket 'cameras' is not a camera"):
            cameras.decode(entry)
        with pytest.raises(SettingError):
            cameras.decode_removed(entry)
    else:
        assert cameras.decode(entry) == camera and not set(text) & set("/:.@%\\ \n")


def test_a_mistaken_model_of_a_camera_names_what_to_give() -> None:
    with pytest.raises(SettingError, match=r"camera model is '/etc/m.onnx': give"):
        new_camera("rtsp://h", model="/etc/m.onnx")


def test_a_removed_camera_leaves_its_model_to_its_waiting_video() -> None:
    left = cameras.decode_removed(cameras.encode_removed(Camera(url="rtsp://h", model="plates")))
    assert left == Camera(url="", enabled=False, model="plates")
