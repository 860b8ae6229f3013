"""Detectors of other packages: their declarations, and the errors of wrong ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cv import model_spec
from services.cv.detectors import DetectorOptions, load
from services.cv.detectors.plugin import PluginDetector, detector
from services.cv.settings import CvSettings
from shared.models import plugins
from shared.models.plugins import Plugin
from shared.runtime.errors import ModelError
from tests.support.plugins import install

HEAD = "import numpy as np\nfrom tidegate.plugins import detector\n"
BOXES = (
    HEAD
    + """
@detector(labels=["red", "blue"], size=(64, 48))
def detect(images):
    assert isinstance(images, np.ndarray) and images.shape[1:] == (48, 64, 3) and images.dtype == np.uint8
    assert len(images) <= 3
    return [[(16, 12, 48, 36, image.mean() / 255, 1)] for image in images]
"""
)
Installed = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Install a package `theirs`, with the entry point `mine`."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str, function: str = "detect") -> None:
        install(tmp_path, "theirs", code, group=plugins.DETECTORS, mine=function)

    yield write
    sys.modules.pop("theirs", None)


def test_a_function_gets_batches_and_its_boxes_become_shares(installed: Installed) -> None:
    installed(BOXES)
    model_spec.check("mine", "cpu")
    found = load("mine", batch_size=3, min_score=0.5)
    assert (found.name, found.labels, found.size, found.within) == ("mine-0.1", ("red", "blue"), (64, 48), None)
    images = [np.full((48, 64, 3), value, np.uint8) for value in (255, 100, 204, 255, 255)]
    results = found.detect(images)
    assert [[o.score for o in objects] for objects in results] == [[1.0], [], [0.8], [1.0], [1.0]]
    assert results[0][0].label == "blue" and results[0][0].box == (0.25, 0.25, 0.75, 0.75)
    assert found.detect([]) == []


def test_load_gives_the_argument_and_the_options(installed: Installed) -> None:
    installed(
        HEAD
        + """
def load(name, options):
    @detector(labels=[name, options.device], within=(100, 100))
    def detect(images):
        assert isinstance(images, list)
        return [np.array([[0, 0, image.shape[1] / 2, image.shape[0], options.threads / 4, 0]]) for image in images]
    return detect
""",
        "load",
    )
    found = load("mine:/weights/a.onnx", device="cuda:1", threads=2)
    assert found.labels == ("/weights/a.onnx", "cuda:1") and found.name == "mine-weights-a.onnx-0.1"
    assert (found.size, found.within) == (None, (100, 100))
    (first,), (second,) = found.detect([np.zeros((90, 160, 3), np.uint8), np.zeros((10, 20, 3), np.uint8)])
    assert first == second and first.box == (0, 0, 0.5, 1) and first.score == 0.5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("[[]]", "1 results for 2 images"),
        ("[[(0, 0, 9, 9, 0.5)]] * 2", r"an array \(1, 5\) for an image"),
        ("[[(0, 0, 9, 9, 0.5, 7)]] * 2", r"the row \(0, 0, 9, 9, 0.5, 7\) with 1 labels"),
        ("[[(0, 0, 9, 9, 50, 0)]] * 2", "a score from 0 to 1"),
        ("[[(0, 0, 9, float('nan'), 0.5, 0)]] * 2", "nan"),
        ("[[(0, 0, 9, 9, 0.5, 'red')]] * 2", "rows that are no numbers"),
        ("1 / 0", "theirs 0.1 failed: ZeroDivisionError"),
        ("None", "theirs 0.1 failed: TypeError"),
    ],
)
def test_rows_of_another_form_are_refused_at_load(installed: Installed, rows: str, message: str) -> None:
    installed(HEAD + f"detect = detector(labels=['red'], size=(8, 8))(lambda images: {rows})")
    with pytest.raises(ModelError, match=message):
        load("mine")


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ("mine:x", BOXES, "mine takes no argument"),
        ("mine", "import absent_package", "can't load theirs:detect: ModuleNotFoundError"),
        ("mine", "detect = 3", "gives 3: decorate a function by tidegate.plugins.detector"),
        ("mine", "def detect(images): return []", "TypeError"),
        ("mine", HEAD + "detect = detector(labels=[])(list)", "has no labels"),
        ("mine", HEAD + "detect = detector(labels=['a'], size=(640, 0))(list)", r"\(640, 0\) is not \(width, height\)"),
        ("mine", HEAD + "detect = detector(labels=['a', 'a'])(list)", "one twice"),
        ("yours", BOXES, "there are mine"),
    ],
)
def test_a_wrong_turn_is_named(installed: Installed, spec: str, code: str, message: str) -> None:
    installed(code)
    with pytest.raises(ModelError, match=message):
        load(spec)


def test_a_name_of_two_packages_is_refused(installed: Installed, tmp_path: Path) -> None:
    installed(BOXES)
    install(tmp_path, "others", BOXES, group=plugins.DETECTORS, mine="detect")
    with pytest.raises(ModelError, match=r"several packages \(others 0.1, theirs 0.1\): uninstall all but one"):
        CvSettings(cv_model="mine").check()


def test_a_runtime_of_files_is_refused(installed: Installed) -> None:
    installed(BOXES)
    with pytest.raises(ModelError, match=r"CV_RUNTIME=openvino is for \.onnx and \.xml files, not for mine"):
        CvSettings(cv_model="mine", cv_runtime="openvino").check()


def test_a_scheme_of_ours_is_never_a_plugin(installed: Installed, tmp_path: Path) -> None:
    install(tmp_path, "others", BOXES, group=plugins.DETECTORS, openvino="detect")
    assert load("openvino:ssd_mobilenet_v2_coco").name == "ssd_mobilenet_v2_coco"


@given(
    st.lists(
        st.lists(
            st.tuples(*[st.floats(-100, 200)] * 4, st.floats(0, 1), st.integers(0, 1)).map(list), min_size=0, max_size=5
        ),
        max_size=7,
    ),
    st.integers(1, 3),
)
def test_objects_are_inside_of_the_picture_and_sorted(rows: list[list[list[float]]], batch_size: int) -> None:
    given_rows = iter(rows)
    function = detector(labels=["a", "b"], size=(10, 20), batch_size=batch_size)(
        lambda images: [next(given_rows) for _ in images]
    )
    entry = plugins.EntryPoint("mine", "theirs:detect", plugins.DETECTORS)
    found = PluginDetector(function, Plugin("mine", "", entry), DetectorOptions(min_score=0.25))
    results = found.detect([np.zeros((20, 10, 3), np.uint8)] * len(rows))
    assert len(results) == len(rows)
    for objects, expected in zip(results, rows, strict=True):
        assert len(objects) <= sum(row[4] >= 0.25 for row in expected)
        assert [o.score for o in objects] == sorted((o.score for o in objects), reverse=True)
        assert all(0 <= o.box[0] < o.box[2] <= 1 and 0 <= o.box[1] < o.box[3] <= 1 for o in objects)
