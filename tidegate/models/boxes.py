"""A detector's objects in frames of footage, next to the frames that people see.

Example:
    frames = analysed(detector, footage, fps=5)
    page(frames, least=0.4)                     # a contact sheet
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.cv.detectors import Detector
from shared.contract.events import DetectedObject
from shared.video.decode import Image
from tidegate.models.footage import Footage, pictures
from tidegate.models.sheet import COUNT, PLACE, sheet, spread

# Frames of each segment: consecutive ones show what moves.
_FRAMES = 4


class Frame(NamedTuple):
    """shown: the frame at the size of a contact sheet. objects: down to the detector's minimum score."""

    shown: Image
    objects: list[DetectedObject]


def analysed(detector: Detector, footage: Footage, fps: float) -> list[Frame]:
    """Return a few frames of up to COUNT segments. Raises BadSegment and OverBudget."""
    found: list[Frame] = []
    for n in spread(COUNT, len(footage.parts)):
        part = footage.parts[n]
        shown = [p.pixels for p in part.decoded(fps=fps, size=None, within=PLACE).pictures[:_FRAMES]]
        objects = detector.detect(pictures(part, detector, fps)[:_FRAMES])
        found += map(Frame, shown, objects)
    return found


def page(frames: Sequence[Frame], least: float) -> Image:
    """Return a contact sheet of some of the frames, with the boxes of scores of `least` or more."""
    chosen = [frames[n] for n in spread(COUNT, len(frames))]
    return sheet([(frame.shown, [o.box for o in frame.objects if o.score >= least]) for frame in chosen])
