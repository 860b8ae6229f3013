"""Detectors that their families' own packages export, without training: we find the objects that their own code finds.

Each export is a process of `make exports`' Python. `dist/exports.md` gets a row of each.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.foreign_exports import comparison
from tests.support.paths import ROOT
from tests.support.video.precision import compute_in

__all__ = ["compute_in"]

PACKAGES = ROOT / ".venv-exports"
TABLE = ROOT / "dist/exports.md"
# What reads the files of each package's detectors.
CASES = {
    ("libreyolo", "deim"): "libreyolo",
    ("libreyolo", "dfine"): "libreyolo",
    ("libreyolo", "picodet"): "libreyolo",
    ("libreyolo", "ppyoloe"): "libreyolo",
    ("libreyolo", "rtdetrv2"): "libreyolo",
    ("libreyolo", "rtmdet"): "libreyolo",
    ("libreyolo", "yolo9"): "libreyolo",
    ("libreyolo", "yolo9+wide"): "libreyolo",
    ("libreyolo", "yolonas"): "libreyolo",
    ("libreyolo", "yolonas+wide"): "libreyolo",
    ("libreyolo", "yolox"): "libreyolo",
    ("rfdetr", "nano-90"): "rf-detr",
    ("rfdetr", "nano-5"): "rf-detr",
    ("torchvision", "fasterrcnn_mobilenet"): "torchvision",
    ("torchvision", "fcos"): "torchvision",
    ("torchvision", "retinanet"): "torchvision",
    ("torchvision", "ssd300"): "torchvision",
    ("torchvision", "ssdlite320"): "torchvision",
    ("transformers", "conditional-detr"): "rt-detr",
    ("transformers", "d-fine"): "rt-detr",
    ("transformers", "deformable-detr"): "rt-detr",
    ("transformers", "detr"): "detr",
    ("transformers", "rt-detr"): "rt-detr",
    ("transformers", "rt-detr-v2"): "rt-detr",
    ("transformers", "table-transformer"): "detr",
    ("transformers", "yolos"): "detr",
    ("ultralytics", "rtdetr-resnet50"): "rt-detr",
    ("ultralytics", "yolo11n"): "yolov8",
    ("ultralytics", "yolo12n"): "yolov8",
    ("ultralytics", "yolo26n"): "yolov8",
    ("ultralytics", "yolo26n+free"): "yolo-rows",
    ("ultralytics", "yolov10n"): "yolov8",
    ("ultralytics", "yolov10n+free"): "yolo-rows",
    ("ultralytics", "yolov5n"): "yolov8",
    ("ultralytics", "yolov8n"): "yolov8",
    ("ultralytics", "yolov8n+nms"): "yolo-rows",
    ("ultralytics", "yolov8n+wide"): "yolov8",
    ("ultralytics", "yolov9t"): "yolov8",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.exports,
    pytest.mark.skipif(not (PACKAGES / ".ready").exists(), reason="no families' packages: make exports"),
]


def export(package: str, detector: str, folder: Path) -> None:
    """Export a detector into `folder`, with what its own code finds. No package reaches the network."""
    offline = {"HF_HUB_OFFLINE": "1", "YOLO_CONFIG_DIR": str(folder), "MPLCONFIGDIR": str(folder)}
    command = [str(PACKAGES / "bin/python"), "-m", "tests.support.foreign_exports", package, detector, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(("package", "detector"), CASES, ids=lambda value: str(value))
def test_an_export_gives_the_objects_of_its_own_code(
    package: str, detector: str, compute_in: Callable[[str], None], tmp_path: Path
) -> None:
    export(package, detector, tmp_path)
    compute_in("f32")
    row = comparison.compare(detector, tmp_path)
    comparison.write(row, TABLE)
    assert row.format == CASES[package, detector]
    assert row.own >= comparison.FEWEST
    assert row.places >= comparison.FEWEST // 2
    assert (row.ours, row.unmatched) == (row.own, 0)
    assert row.least_iou >= 0.99
