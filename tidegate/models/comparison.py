"""Two detectors on the same frames: what they find, how long they take, and the frames where they differ most.

Example:
    comparison = Comparison(Side(detector_a, 0.4), Side(detector_b, 0.4), fps=5)
    comparison.add(part)
    comparison.tally.total, comparison.a.ms, comparison.worst[0].agreement
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from services.cv.detectors import Detector
from services.cv.looking import images_of
from services.cv.tiles import Grid
from shared.contract.events import DetectedObject
from shared.runtime.errors import BadSegment, Expired, OverBudget
from shared.video.decode import Image
from tidegate.models.agreement import FrameAgreement, Tally, compare
from tidegate.models.footage import Part
from tidegate.models.labels import Classes
from tidegate.models.sheet import COUNT, PLACE

SLOW = "the detectors are slower than the video"
_WHOLE = Grid.of("1x1")


class Worst(NamedTuple):
    """A frame where the detectors differ. shown: at the size of a contact sheet."""

    camera: str
    time: dt.datetime
    shown: Image
    agreement: FrameAgreement


class Side:
    """One of the two detectors. least: its minimum score. images: their number so far. best: the best score so far."""

    def __init__(self, detector: Detector, least: float) -> None:
        self.detector = detector
        self.least = least
        self.images = 0
        self.best = 0.0
        self._seconds = 0.0

    @property
    def ms(self) -> float | None:
        """Mean milliseconds of a picture; None before the first."""
        return 1000 * self._seconds / self.images if self.images else None

    def detect(self, images: list[Image]) -> list[list[DetectedObject]]:
        """Return the objects of each image, and measure the time."""
        began = time.perf_counter()
        found = self.detector.detect(images)
        self._seconds += time.perf_counter() - began
        self.images += len(images)
        return found


class Comparison:
    """The result so far. classes: of both detectors. wanted: the classes that count; None for all.

    begins: the first frame of the first segment that was compared; None before it.
    """

    def __init__(
        self,
        a: Side,
        b: Side,
        *,
        fps: float,
        aliases: Mapping[str, str] | None = None,
        wanted: frozenset[str] | None = None,
    ) -> None:
        self.a, self.b = a, b
        self.classes = Classes.of(a.detector.labels, b.detector.labels, aliases)
        self.tally = Tally()
        self.segments = 0
        self.begins: dt.datetime | None = None
        self.skipped: Counter[str] = Counter()
        self.worst: list[Worst] = []
        self._fps = fps
        self._wanted = wanted and frozenset(map(self.classes.name, wanted))
        self._examples: dict[str, str] = {}

    def add(self, part: Part) -> None:
        """Compare the detectors on a segment. One that can't be decoded is counted as skipped."""
        try:
            pictures = self._pictures(part)
        except BadSegment as e:
            self.skip(e)
            return
        self.segments += 1
        self.begins = self.begins or part.segment.start
        offsets, size, images_a, images_b = pictures
        # By turns, so that a busy moment slows neither more than the other.
        if self.segments % 2:
            found_a = self._found(self.a, images_a)
            found_b = self._found(self.b, images_b)
        else:
            found_b = self._found(self.b, images_b)
            found_a = self._found(self.a, images_a)
        frames = [
            compare(a, b, size=size, least_a=self.a.least, least_b=self.b.least)
            for a, b in zip(found_a, found_b, strict=True)
        ]
        for frame in frames:
            self.tally.add(frame)
        self._rank(part, offsets, frames)

    def skip(self, error: BadSegment) -> None:
        """Count a segment that could not be compared, by its reason."""
        kind = {Expired: "their video has expired", OverBudget: "they cost too much to decode"}
        reason = kind.get(type(error), "they can't be decoded")
        self._examples.setdefault(reason, str(error))
        self.skipped[reason] += 1

    def skip_late(self, count: int) -> None:
        """Count segments that arrived while the detectors were busy."""
        self.skipped[SLOW] += count

    @property
    def reasons(self) -> Iterator[str]:
        """Yield a phrase for each reason, with its number and, for one with details, the first."""
        for reason, count in self.skipped.most_common():
            detail = self._examples.get(reason)
            yield f"{count} as {reason}" + (f" (first: {detail})" if detail else "")

    def _pictures(self, part: Part) -> tuple[list[float], tuple[int, int], list[Image], list[Image]]:
        """Return (offsets, size of the source frame, images of A, images of B), of the same frames.

        Each detector gets its frames as a worker scales them. Detectors of one size share them.
        """
        a, b = self.a.detector, self.b.detector
        first = part.decoded(fps=self._fps, size=a.size, within=a.within)
        second = first
        if (a.size, a.within) != (b.size, b.within):
            second = part.decoded(fps=self._fps, size=b.size, within=b.within)
        offsets = [p.offset for p in first.pictures]
        if offsets != [p.offset for p in second.pictures]:
            raise BadSegment("two decodings of it give different frames")
        return offsets, first.size, images_of(first, _WHOLE, a.size), images_of(second, _WHOLE, b.size)

    def _found(self, side: Side, images: list[Image]) -> list[list[DetectedObject]]:
        """Return the wanted objects of each image, with the names of their classes."""
        found = []
        for objects in side.detect(images):
            named = [msgspec.structs.replace(o, label=self.classes.name(o.label)) for o in objects]
            found.append([o for o in named if self._wanted is None or o.label in self._wanted])
            side.best = max([side.best, *(o.score for o in found[-1])])
        return found

    def _rank(self, part: Part, offsets: list[float], frames: list[FrameAgreement]) -> None:
        """Store the segment's worst frame if it is among the worst, and shows more than another one of the camera."""
        n = max(range(len(frames)), key=lambda n: frames[n].disagreement)
        worth, camera = frames[n].disagreement, part.segment.camera
        if not worth or (len(self.worst) == COUNT and worth <= self.worst[-1].agreement.disagreement):
            return
        if any(frames[n].repeats(found.agreement) for found in self.worst if found.camera == camera):
            return
        # What it repeats and exceeds makes room for others.
        self.worst = [w for w in self.worst if w.camera != camera or not w.agreement.repeats(frames[n])]
        (picture,) = part.decoded_at([offsets[n]], within=PLACE).pictures
        when = part.segment.start + dt.timedelta(seconds=offsets[n])
        self.worst.append(Worst(camera, when, picture.pixels, frames[n]))
        self.worst.sort(key=lambda found: -found.agreement.disagreement)
        del self.worst[COUNT:]
