"""A smoke test without a server: one segment is cut as in ingest, then decoded and analysed as in cv.

Without it a broken package would only show with the first segment.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from services.cv import detectors
from services.cv.settings import CvSettings
from shared.runtime.errors import ModelError
from shared.video.decode import decode
from tidegate.demo import clips, footage

FPS = 2.0


class Outcome(NamedTuple):
    """frames: of the segment. analysed: frames that the detector got. found: distinct labels, sorted."""

    frames: int
    analysed: int
    found: tuple[str, ...]
    drawn: bool


def run() -> Outcome:
    """Run the test. Raise ModelError if a street has no objects, or any error of a broken package."""
    with tempfile.TemporaryDirectory() as folder:
        street = footage.street()
        video = street or Path(folder) / "drawn.mp4"
        if street is None:
            footage.draw_square(video)
        piece = clips.pieces(video, "trial")[1]
    detector = detectors.load(CvSettings().cv_model)
    decoded = decode(piece.payload, fps=FPS, size=detector.size, frames=piece.segment.frames)
    if decoded.damaged:
        raise ModelError(f"a sound segment is read as damaged: {decoded.damaged}")
    objects = detector.detect([picture.pixels for picture in decoded.pictures])
    found = tuple(sorted({o.label for image in objects for o in image}))
    if street and not found:
        raise ModelError(f"nothing is found in {len(decoded.pictures)} frames of a street")
    return Outcome(piece.segment.frames, len(decoded.pictures), found, drawn=street is None)
