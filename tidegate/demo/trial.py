"""One segment taken all the way here, without a server: cut as ingest cuts it, decoded and detected in as cv does.

A package that is installed and does not work shows here, and nowhere before the first segment.
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


class Trial(NamedTuple):
    """frames: of the segment. looked_at: how many of them were detected in. found: labels, each once, by name."""

    frames: int
    looked_at: int
    found: tuple[str, ...]
    drawn: bool


def run() -> Trial:
    """Raises ModelError where nothing is found in a street; and whatever a broken package raises."""
    with tempfile.TemporaryDirectory() as folder:
        street = footage.street()
        video = street or Path(folder) / "drawn.mp4"
        if street is None:
            footage.drawn(video)
        piece = clips.pieces(video, "trial")[1]
    detector = detectors.load(CvSettings().cv_model)
    decoded = decode(piece.payload, fps=FPS, size=detector.size, frames=piece.segment.frames)
    if decoded.damaged:
        raise ModelError(f"a sound segment is read as damaged: {decoded.damaged}")
    objects = detector.detect([picture.pixels for picture in decoded.pictures])
    found = tuple(sorted({o.label for image in objects for o in image}))
    if street and not found:
        raise ModelError(f"nothing is found in {len(decoded.pictures)} frames of a street")
    return Trial(piece.segment.frames, len(decoded.pictures), found, drawn=street is None)
