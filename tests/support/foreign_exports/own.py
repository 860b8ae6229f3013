"""What a family's own code finds, and the files that a comparison needs."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Objects with lower scores are no part of a comparison.
LEAST = 0.02
REPEATS = 7


class Found(NamedTuple):
    """boxes: x1, y1, x2, y2 in pixels of the picture. labels, scores: of each box."""

    boxes: Sequence[Sequence[float]]
    labels: Sequence[str]
    scores: Sequence[float]


class Own(NamedTuple):
    """file: the export. picture: (height, width, 3), uint8, RGB. detect: the family's own detection in it."""

    file: Path
    picture: np.ndarray[Any, Any]
    detect: Callable[[], Found]


def write(own: Own, package: str, folder: Path) -> None:
    """Write picture.npy, and own.json with the objects, the median milliseconds and the package's version."""
    found = own.detect()
    np.save(folder / "picture.npy", own.picture)
    document = {
        "file": str(own.file),
        "package": f"{package} {metadata.version(package)}",
        "ms": median_ms(own.detect),
        "boxes": [[float(v) for v in box] for box in found.boxes],
        "labels": [str(label) for label in found.labels],
        "scores": [float(score) for score in found.scores],
    }
    (folder / "own.json").write_text(json.dumps(document))


def median_ms(detect: Callable[[], object]) -> float:
    """Return the median milliseconds of some calls."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        detect()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
