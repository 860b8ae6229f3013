"""What looks wrong with a detector's boxes, in words. Pure.

    for sentence in doubts(frames, motion=0.02, least=0.4): ...

frames: the objects of each frame, down to a low score. Each check returns a sentence with a remedy, or "".
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from shared.contract.events import Box, DetectedObject
from shared.video.decode import Image

Frames = Sequence[Sequence[DetectedObject]]

# The share of the picture from which a box covers it, and that of boxes and of frames from which it is no chance.
COVERS, MOST = 0.9, 0.5
# Corners that differ by less, in shares of the picture, did not move.
STILL = 0.002
# The share of pixels that change from frame to frame in footage that moves, and a change that is no noise.
MOVES, CHANGED = 0.005, 16
# The range of the middle 80 % of scores below which they are nearly equal, and the least number to judge by.
EQUAL, ENOUGH = 0.05, 10


def doubts(frames: Frames, *, motion: float, least: float) -> list[str]:
    """Return the sentences of all checks. motion: of `moving`. least: the score from which an object counts."""
    counted = [[o for o in frame if o.score >= least] for frame in frames]
    found = (covering(counted), frozen(counted, motion), nothing(frames, least), equal(frames))
    return [sentence for sentence in found if sentence]


def covering(frames: Frames) -> str:
    """Doubt boxes of nearly the whole picture: pixels that are taken for shares, or the reverse."""
    covered = sum(_is_covered(frame) for frame in frames)
    if not frames or covered <= MOST * len(frames):
        return ""
    return (
        f"boxes cover nearly the whole picture in {covered} of {len(frames)} frames: their scale is probably wrong; "
        "try another --format"
    )


def frozen(frames: Frames, motion: float) -> str:
    """Doubt boxes that stay exactly where they are while the footage moves. motion: of `moving`."""
    seen = [frame for frame in frames if frame]
    if motion < MOVES or len(seen) < max(3, len(frames) // 2):
        return ""
    if not all(_is_same(before, after) for before, after in pairwise(seen)):
        return ""
    return "boxes never move although the footage does: the model does not see the picture; check its input's values"


def nothing(frames: Frames, least: float) -> str:
    """Doubt a detector without any object of a score of `least`."""
    best = max((o.score for frame in frames for o in frame), default=0.0)
    if best >= least:
        return ""
    detail = f"the best score is {best:.2f}, under {least:g}; lower --min-score" if best else "not even at a low score"
    return f"nothing is found in {len(frames)} frames: {detail}, or give --video with objects of its classes"


def equal(frames: Frames) -> str:
    """Doubt scores that are nearly equal: those of untrained weights."""
    scores = sorted(o.score for frame in frames for o in frame)
    if len(scores) < ENOUGH:
        return ""
    tenths = statistics.quantiles(scores, n=10, method="inclusive")
    if tenths[-1] - tenths[0] >= EQUAL:
        return ""
    return f"{len(scores)} scores are nearly all {statistics.median(scores):.2f}: the weights are probably untrained"


def moving(images: Sequence[Image]) -> float:
    """Return the share of pixels that change from an image to the next of its size, on average."""
    greys = [image.astype(np.int16).mean(axis=2) for image in images]
    pairs = [(a, b) for a, b in pairwise(greys) if a.shape == b.shape]
    return float(np.mean([np.mean(np.abs(a - b) > CHANGED) for a, b in pairs])) if pairs else 0.0


def _is_covered(frame: Sequence[DetectedObject]) -> bool:
    return sum(_area(o.box) >= COVERS for o in frame) > MOST * len(frame) if frame else False


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _is_same(before: Sequence[DetectedObject], after: Sequence[DetectedObject]) -> bool:
    pairs = zip(sorted(o.box for o in before), sorted(o.box for o in after), strict=False)
    return len(before) == len(after) and all(
        abs(a - b) < STILL for one, other in pairs for a, b in zip(one, other, strict=True)
    )
