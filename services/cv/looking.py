"""The objects in a segment's pictures, of live or recorded video. No I/O.

Example:
    images = images_of(decoded, wants.grid, detector.size)
    found = joined(detector.detect(images), wants.grid, len(offsets))
    frames = frames_of(head, offsets, [wants.of(objects) for objects in found])
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from services.cv.tiles import Grid
from shared.contract.events import DetectedObject, Frame
from shared.contract.segment import Segment
from shared.video.decode import Decoded, Image


class Wants(NamedTuple):
    """grid: the images of a frame. min_score, classes: filters of the report; None for all labels."""

    grid: Grid
    min_score: float
    classes: frozenset[str] | None

    def of(self, found: Iterable[DetectedObject]) -> list[DetectedObject]:
        return [o for o in found if o.score >= self.min_score and (self.classes is None or o.label in self.classes)]


def images_of(decoded: Decoded, grid: Grid, size: tuple[int, int] | None) -> list[Image]:
    """Return the images of `grid`, frame by frame. size: the detector's."""
    return [image for picture in decoded.pictures for image in grid.images(picture.pixels, size)]


def joined(views: Iterable[list[DetectedObject]], grid: Grid, frames: int) -> list[list[DetectedObject]]:
    """Join the objects of the images to those of each frame."""
    rest = iter(views)
    return [grid.join(list(islice(rest, grid.views))) for _ in range(frames)]


def unknown(labels: Iterable[str], known: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (a label that a model does not have, the remedy). known: the model's labels."""
    for label in sorted(set(labels) - set(known)):
        near = difflib.get_close_matches(label.lower(), known, n=1)
        yield label, f"did you mean {near[0]!r}?" if near else "nothing will be reported of it"


def frames_of(head: Segment, offsets: Sequence[float], found: Sequence[Sequence[DetectedObject]]) -> list[Frame]:
    """Return the frames of an event. offsets: seconds from the segment's first frame."""
    return [
        Frame(time=head.start + dt.timedelta(seconds=offset), objects=list(objects))
        for offset, objects in zip(offsets, found, strict=True)
    ]
