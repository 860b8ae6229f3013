"""Our reading of an export next to what its family's own code finds. It runs in our own Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from services.cv.detectors import load
from services.cv.detectors.exports.detector import ExportedDetector
from tests.support.foreign_exports.own import LEAST, median_ms

# Enough objects for a comparison, and fewer than any family's limit.
FEWEST, MOST = 10, 90
# The least side of a box, as a share, whose overlap is measured: an event has four decimals.
LEAST_SIDE = 0.025

Boxes = np.ndarray[Any, Any]


class Row(NamedTuple):
    """ours, own: the number of objects over `threshold`. unmatched: the own code's objects without one of ours.
    least_iou: of matched boxes. places: different boxes of the own code. ms_ours, ms_own: medians for one picture, in
    one thread.
    """

    package: str
    detector: str
    format: str
    threshold: float
    ours: int
    own: int
    unmatched: int
    least_iou: float
    places: int
    ms_ours: float
    ms_own: float


def compare(detector: str, folder: Path) -> Row:
    """Read the export in `folder`, and compare its objects. Raises ModelError if it is not recognised."""
    own = json.loads((folder / "own.json").read_text())
    picture = np.load(folder / "picture.npy")
    sides = np.array([picture.shape[1], picture.shape[0]] * 2)
    boxes = np.clip(np.array(own["boxes"], float).reshape(-1, 4) / sides, 0, 1).round(4)
    scores, labels = np.array(own["scores"]), np.array(own["labels"])
    is_box = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    boxes, scores, labels = boxes[is_box], scores[is_box], labels[is_box]
    threshold = widest_gap(scores)
    chosen = scores > threshold
    reader = load(own["file"], min_score=threshold)
    assert isinstance(reader, ExportedDetector)
    found = reader.detect([picture])[0]
    overlaps = matched(
        (boxes[chosen], labels[chosen]),
        (np.array([o.box for o in found]).reshape(-1, 4), np.array([o.label for o in found])),
    )
    return Row(
        package=own["package"],
        detector=detector,
        format=reader.reading.format,
        threshold=threshold,
        ours=len(found),
        own=int(chosen.sum()),
        unmatched=int(chosen.sum()) - len(overlaps),
        least_iou=min(overlaps, default=0.0),
        places=len(np.unique(boxes[chosen].round(2), axis=0)),
        ms_ours=median_ms(lambda: reader.detect([picture])),
        ms_own=own["ms"],
    )


def write(row: Row, table: Path) -> None:
    """Write a row to the folder of the table's name, and the table of all rows there."""
    folder = table.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row.package.partition(' ')[0]}-{row.detector}.json").write_text(json.dumps(row._asdict()))
    rows = [Row(**json.loads(file.read_text())) for file in sorted(folder.glob("*.json"))]
    lines = [
        f"| {r.package} | {r.detector} | `{r.format}` | {r.ours} of {r.own} | {r.unmatched} | {r.least_iou:.4f} "
        f"| {r.ms_ours:.0f} | {r.ms_own:.0f} | {r.ms_ours / r.ms_own:.2f} |"
        for r in rows
    ]
    head = "| package | detector | read as | objects of theirs | unmatched | least IoU | ms | ms of theirs | ratio |"
    table.write_text("\n".join([head, "|---" * 9 + "|", *lines]) + "\n")


def widest_gap(scores: Boxes) -> float:
    """Return the middle of the widest gap below some of the best scores: rounding moves no score across it."""
    best = np.sort(scores)[::-1][: MOST + 1]
    if len(best) <= FEWEST:
        return LEAST
    gaps = best[FEWEST - 1 : -1] - best[FEWEST:]
    at = FEWEST - 1 + int(gaps.argmax())
    return float((best[at] + best[at + 1]) / 2)


def matched(one: tuple[Boxes, Boxes], other: tuple[Boxes, Boxes]) -> list[float]:
    """Return the IoU of each box of `one` with the nearest box of its label in `other`, each of which counts once.

    Boxes of less than LEAST_SIDE need a partner only: their IoU is 1.
    """
    (boxes, labels), (others, other_labels) = one, other
    is_free = np.ones(len(others), bool)
    overlaps = []
    for box, label in zip(boxes, labels, strict=True):
        candidates = np.flatnonzero(is_free & (other_labels == label))
        if len(candidates):
            ious = _ious(box, others[candidates])
            is_free[candidates[ious.argmax()]] = False
            overlaps.append(float(ious.max()) if (box[2:] - box[:2]).min() >= LEAST_SIDE else 1.0)
    return overlaps


def _ious(box: Boxes, others: Boxes) -> Boxes:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    ious: Boxes = common / (area + areas - common)
    return ious
