"""A still scene with a bright square that walks through it, as segments; and a detector that finds bright squares."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
from numpy.typing import NDArray

from services.cv.detectors import Detection, detections
from services.ingest.cutting.piece import Piece
from shared.video.decode import Image
from tidegate.demo import clips

WIDTH, HEIGHT, FPS = 320, 240, 5
START = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
# Upper left corner of the square at a second; None while it is not there.
Walker = Callable[[float], tuple[int, int] | None]


def ground(seed: int = 3) -> NDArray[np.float64]:
    """A background: smooth patches, at most half as bright as white."""
    rough = np.random.default_rng(seed).uniform(20, 120, (HEIGHT // 20, WIDTH // 20))
    return np.kron(rough, np.ones((20, 20)))


def segments(
    path: Path, seconds: int, walker: Walker = lambda _: None, *, seed: int = 5, gop_s: int = 1
) -> list[Piece]:
    """One a second, from START on, with a sensor's noise."""
    rng, still = np.random.default_rng(seed), ground()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "23", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", FPS * gop_s
        for n in range(seconds * FPS):
            grey = still + rng.normal(0, 2, still.shape)
            if (at := walker(n / FPS)) is not None:
                grey[at[1] : at[1] + 40, at[0] : at[0] + 24] = 230
            picture = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    pieces = clips.pieces(path, "lobby")
    shift = START - pieces[0].segment.start
    return [p._replace(segment=msgspec.structs.replace(p.segment, start=p.segment.start + shift)) for p in pieces]


class Squares:
    """A detector that finds a bright square, and counts its requests."""

    name = "squares"
    labels = ("person",)
    size = (160, 120)
    within = None

    def __init__(self) -> None:
        self.images = 0

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        self.images += len(images)
        return [self._found(image.mean(axis=2) > 180) for image in images]

    def _found(self, bright: NDArray[np.bool_]) -> list[Detection]:
        rows, columns = np.nonzero(bright)
        if len(rows) < 20:
            return []
        width, height = self.size
        box = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
        return detections(self.labels, [0], [0.9], [box])
