"""The surveillance footage, the embedded detector's results, and the ground truth: see bench/vtest."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from services.cv import detectors
from services.cv.tiles import Grid
from shared.contract.events import Box, DetectedObject, Detections, Frame, SegmentRef, Timing

FOOTAGE = Path(os.environ.get("VTEST") or "/usr/share/doc/opencv-doc/examples/data/vtest.avi")
_PACKED = FOOTAGE.with_name(f"{FOOTAGE.name}.gz")
HERE = Path(__file__).parent / "vtest"
FPS, WIDTH, HEIGHT = 10, 768, 576
MINUTE = 600
START = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
RULES = {
    "zones": {"road": {"polygon": [[0.32, 0.28], [0.47, 0.28], [0.47, 0.62], [0.32, 0.62]]}},
    "lines": {"road": {"from": [0.43, 0.62], "to": [0.43, 0.28]}},
    "rules": [
        {"id": "cross", "kind": "crossing", "line": "road", "labels": ["person"]},
        {"id": "stay", "kind": "enter", "zone": "road", "labels": ["person"], "end_after_s": 0},
    ],
}


class Crossing(NamedTuple):
    frame: int
    direction: str


class Stay(NamedTuple):
    """A stay in the zone, by its first and last frame."""

    first: int
    last: int


def is_available() -> bool:
    return FOOTAGE.exists() or _PACKED.exists()


def video() -> Path:
    """Return the footage's path. Some of Debian's images have it compressed."""
    if FOOTAGE.exists() or not _PACKED.exists():
        return FOOTAGE
    path = Path(tempfile.gettempdir()) / f"{FOOTAGE.stem}-{os.getuid()}.avi"
    if not path.exists():
        path.write_bytes(gzip.decompress(_PACKED.read_bytes()))
    return path


def detect(least: float = 0.1, tiles: str = "1x1") -> list[list[DetectedObject]]:
    """Return the embedded detector's objects in every frame, from a score of `least` on, as cv does with `tiles`."""
    if not is_available():
        sys.exit(f"{FOOTAGE} is not there: apt-get install opencv-doc, or say where it is with VTEST")
    detector = detectors.load("openvino:ssd_mobilenet_v2_coco", threads=2, min_score=least)
    grid = Grid.of(tiles)
    size = grid.canvas(detector.size)
    assert size is not None
    scale = VideoReformatter()
    with av.open(str(video())) as container:
        pictures = (scale.reformat(f, *size, "rgb24", threads=1).to_ndarray() for f in container.decode(video=0))
        return [grid.join(detector.detect(grid.images(np.ascontiguousarray(p), detector.size))) for p in pictures]


def events(found: list[list[DetectedObject]], fps: int, least: float) -> Iterator[Detections]:
    """Yield cv's event for each second, at `fps` frames a second."""
    for n in range(0, len(found), FPS):
        frames = [
            Frame(
                time=START + dt.timedelta(seconds=k / FPS),
                objects=[o for o in found[k] if o.score >= least],
            )
            for k in range(n, min(n + FPS, len(found)), FPS // fps)
        ]
        yield Detections(
            camera="campus",
            segment=SegmentRef(stream="MEDIA", seq=n // FPS + 1, epoch="e", n=n // FPS),
            start=frames[0].time,
            duration=1.0,
            width=WIDTH,
            height=HEIGHT,
            model="ssd_mobilenet_v2_coco",
            frames=frames,
            timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
        )


def frame_of(time: dt.datetime) -> int:
    return round((time - START).total_seconds() * FPS)


def people() -> dict[int, dict[int, Box]]:
    """Return boxes by frame and person, as shares of the frame."""
    found: dict[int, dict[int, Box]] = {}
    with (HERE / "people.csv").open() as file:
        for row in csv.DictReader(file):
            x1, y1, x2, y2 = (float(row[k]) for k in ("x1", "y1", "x2", "y2"))
            box = (x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT)
            found.setdefault(int(row["frame"]), {})[int(row["id"])] = box
    return found


def crossings() -> list[Crossing]:
    with (HERE / "crossings.csv").open() as file:
        return [Crossing(int(row["frame"]), row["direction"]) for row in csv.DictReader(file)]


def stays() -> list[Stay]:
    with (HERE / "stays.csv").open() as file:
        return [Stay(int(row["first_frame"]), int(row["last_frame"])) for row in csv.DictReader(file)]
