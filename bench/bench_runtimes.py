"""What a precision and a runtime cost on this CPU, and what a precision changes: two tables, one run.

    python -m bench.bench_runtimes [detector.onnx]

Time is of the CPU, of one thread, on real frames: neighbours of a shared machine slow all alike. The rivals alternate
in rounds. An object is lost if the other precision has none of its label at its place with a score of 0.4.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import record
from bench.bench_detector import frames
from services.cv.detectors import Detection, Detector, load
from shared.runtime.errors import ModelError
from shared.video.decode import Image
from shared.video.pictures import resize

EMBEDDED = "openvino:ssd_mobilenet_v2_coco"
CLIPS = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")
PRECISIONS = ("f32", "bf16", "f16")
LEAST, FLOOR, SAME_PLACE = 0.4, 0.1, 0.5
ROUNDS, IMAGES = 15, 12


class Change(NamedTuple):
    """lost, new: shares of the objects in f32. score, iou: median changes of those that both have."""

    lost: float
    new: float
    score: float
    iou: float


def main(file: str = "") -> None:
    images = [image for clip in CLIPS for image in frames(clip)][::2]
    console, ratios = Console(width=120), {}
    exact, *others = detectors(EMBEDDED, "embedded")
    table = Table("embedded detector", "CPU ms an image", "f32 / it", "lost", "new", "score", "IoU")
    times = rounds([exact, *others], images)
    found = exact.detector.detect(images)
    for rival in (exact, *others):
        change = changed(found, rival.detector.detect(images))
        ratios[f"f32 / {rival.name}, embedded"] = ratio = share(times, exact, rival)
        words = (f"{change.lost:.1%}", f"{change.new:.1%}", f"{change.score:.4f}", f"{change.iou:.3f}")
        table.add_row(rival.name, f"{statistics.median(times[rival.name]):.1f}", f"{ratio:.2f}", *words)
    console.print(table)
    if file:
        rivals = detectors(file, "file")
        rivals.append(Rival("ONNX Runtime, f32", load(file, runtime="onnxruntime", batch_size=IMAGES)))
        table, times = Table(file, "CPU ms an image", "OpenVINO f32 / it"), rounds(rivals, images)
        for rival in rivals:
            ratios[f"f32 / {rival.name}, file"] = ratio = share(times, rivals[0], rival)
            table.add_row(rival.name, f"{statistics.median(times[rival.name]):.1f}", f"{ratio:.2f}")
        console.print(table)
    record.write("runtimes", higher=ratios)


class Rival(NamedTuple):
    name: str
    detector: Detector


def detectors(spec: str, kind: str) -> list[Rival]:
    """Return a detector in each precision that this CPU has, f32 first."""
    found = []
    for precision in PRECISIONS:
        try:
            found.append(Rival(precision, load(spec, precision=precision, min_score=FLOOR)))
        except ModelError as e:
            print(f"{kind}: {e}", file=sys.stderr)
    return found


def rounds(rivals: Sequence[Rival], images: list[Image]) -> dict[str, list[float]]:
    """Return the milliseconds of the CPU for an image, by rival and round."""
    times: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    fitted = {rival.name: of_size(rival.detector, images[: IMAGES * 10 : 10]) for rival in rivals}
    for _ in range(ROUNDS):
        for rival in rivals:
            began = time.process_time()
            rival.detector.detect(fitted[rival.name])
            times[rival.name].append(1000 * (time.process_time() - began) / IMAGES)
    return times


def of_size(detector: Detector, images: list[Image]) -> list[Image]:
    size: Any = detector.size or detector.within
    return [image if image.shape[1::-1] == size else resize(image, size) for image in images]


def share(times: dict[str, list[float]], one: Rival, other: Rival) -> float:
    return statistics.median(a / b for a, b in zip(times[one.name], times[other.name], strict=True))


def changed(wanted: list[list[Detection]], found: list[list[Detection]]) -> Change:
    """Return what differs. Objects are matched by label and place."""
    ahead = [match(o, objects) for image, objects in zip(wanted, found, strict=True) for o in image if o.score >= LEAST]
    back = [match(o, objects) for image, objects in zip(found, wanted, strict=True) for o in image if o.score >= LEAST]
    matched = [(abs(o.score - other.score), overlap) for o, other, overlap in ahead if other]
    return Change(
        lost=sum(other is None or other.score < LEAST for _, other, _ in ahead) / len(ahead),
        new=sum(other is None or other.score < LEAST for _, other, _ in back) / len(ahead),
        score=float(np.median([score for score, _ in matched])),
        iou=float(np.median([overlap for _, overlap in matched])),
    )


def match(wanted: Detection, objects: Sequence[Detection]) -> tuple[Detection, Detection | None, float]:
    """Return (wanted, the object of its label and place or None, their IoU)."""
    same = [(iou(wanted.box, o.box), o) for o in objects if o.label == wanted.label]
    overlap, best = max(same, key=lambda pair: pair[0], default=(0.0, None))
    return wanted, best if overlap > SAME_PLACE else None, overlap


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    over = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return over / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - over)


if __name__ == "__main__":
    main(*sys.argv[1:])
