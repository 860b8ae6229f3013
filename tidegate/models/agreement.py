"""Where two detectors agree on the objects of a frame, and where they differ. Pure.

Example:
    found = compare(objects_a, objects_b, size=(1920, 1080))
    len(found.agreed), len(found.only_a), found.disagreement
    tally = Tally()
    tally.add(found)
    tally.total.agreed, tally.classes["person"].only_b

Boxes are matched one to one, the best IoU first: first those of one class, then the others. Exchanging A and B
exchanges all results: a tie is resolved by the values of both boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import msgspec

from shared.contract.events import Box, DetectedObject

# Two boxes are of one object from this IoU on.
LEAST_IOU = 0.5
# COCO's sizes: (name, the area in square pixels of the source frame that is too large for it).
SIZES = (("small", 32.0**2), ("medium", 96.0**2), ("large", float("inf")))


class Pair(NamedTuple):
    """A box of A and one of B that overlap by `iou`."""

    a: DetectedObject
    b: DetectedObject
    iou: float


class FrameAgreement(NamedTuple):
    """A frame as two detectors see it.

    size: (width, height) of the source frame. agreed: pairs of one class. other_class: pairs of two classes. only_a,
    only_b: objects that one of them finds. under_a, under_b: of these, the number that the other finds, too, under its
    minimum score.
    """

    size: tuple[int, int]
    agreed: list[Pair]
    other_class: list[Pair]
    only_a: list[DetectedObject]
    only_b: list[DetectedObject]
    under_a: int = 0
    under_b: int = 0

    @property
    def disagreement(self) -> float:
        """The sum of the scores of objects that differ; 0 exactly if none does. It ranks frames."""
        single = sum(sorted(o.score for o in (*self.only_a, *self.only_b)))
        return single + sum(sorted((pair.a.score + pair.b.score) / 2 for pair in self.other_class))

    def repeats(self, other: FrameAgreement) -> bool:
        """Return whether `other` has each difference of this frame, too: the same side, class and place."""
        return all(
            any(o.label == shown.label and iou(o.box, shown.box) >= LEAST_IOU for shown in theirs)
            for ours, theirs in zip(self._sides(), other._sides(), strict=True)
            for o in ours
        )

    def _sides(self) -> tuple[list[DetectedObject], ...]:
        """Return the objects that differ: of A alone, of B alone, and of pairs of two classes A's and B's."""
        return (self.only_a, self.only_b, [p.a for p in self.other_class], [p.b for p in self.other_class])


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """Objects by agreement. iou: mean of agreed pairs. score_change: mean of B's score less A's. None: no pair.

    other_class: pairs of two classes; each counts for both.
    """

    agreed: int = 0
    only_a: int = 0
    only_b: int = 0
    other_class: int = 0
    iou: float | None = None
    score_change: float | None = None

    @property
    def objects(self) -> int:
        """All objects that at least one detector finds."""
        return self.agreed + self.only_a + self.only_b + self.other_class


class _Sums:
    """A count in progress: of a live view that may last for hours, so it has sums, not values."""

    def __init__(self) -> None:
        self.agreed = self.only_a = self.only_b = self.other_class = 0
        self._iou = self._change = 0.0

    def agree(self, pair: Pair) -> None:
        self.agreed += 1
        self._iou += pair.iou
        self._change += pair.b.score - pair.a.score

    def count(self) -> Count:
        return Count(
            agreed=self.agreed,
            only_a=self.only_a,
            only_b=self.only_b,
            other_class=self.other_class,
            iou=self._iou / self.agreed if self.agreed else None,
            score_change=self._change / self.agreed if self.agreed else None,
        )


class Tally:
    """The counts of many frames. frames: their number. under_a, under_b: as of a frame."""

    def __init__(self) -> None:
        self.frames = self.under_a = self.under_b = 0
        self._total = _Sums()
        self._classes: dict[str, _Sums] = {}
        self._sizes = {name: _Sums() for name, _ in SIZES}
        self._confusions: Counter[tuple[str, str]] = Counter()

    def add(self, frame: FrameAgreement) -> None:
        """Count a frame."""
        self.frames += 1
        self.under_a += frame.under_a
        self.under_b += frame.under_b
        for pair in frame.agreed:
            for sums in self._of((pair.a, pair.b), frame.size):
                sums.agree(pair)
        for pair in frame.other_class:
            self._confusions[pair.a.label, pair.b.label] += 1
            for sums in self._of((pair.a, pair.b), frame.size):
                sums.other_class += 1
        for o in frame.only_a:
            for sums in self._of((o,), frame.size):
                sums.only_a += 1
        for o in frame.only_b:
            for sums in self._of((o,), frame.size):
                sums.only_b += 1

    @property
    def total(self) -> Count:
        """All objects."""
        return self._total.count()

    @property
    def classes(self) -> dict[str, Count]:
        """The counts by class, those of most objects first. A pair of two classes counts in both."""
        counts = {label: sums.count() for label, sums in self._classes.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1].objects, item[0])))

    @property
    def sizes(self) -> dict[str, Count]:
        """The counts by size, the smallest first. A pair has the mean of its areas."""
        return {name: sums.count() for name, sums in self._sizes.items()}

    @property
    def confusions(self) -> list[tuple[str, str, int]]:
        """Pairs of two classes: (A's, B's, their number), the most frequent first."""
        ranked = sorted(self._confusions.items(), key=lambda item: (-item[1], sorted(item[0]), item[0]))
        return [(a, b, n) for (a, b), n in ranked]

    def _of(self, objects: Sequence[DetectedObject], size: tuple[int, int]) -> Iterator[_Sums]:
        yield self._total
        yield self._sizes[size_of(sum(pixels(o.box, size) for o in objects) / len(objects))]
        for label in {o.label for o in objects}:
            yield self._classes.setdefault(label, _Sums())


def compare(
    a: Iterable[DetectedObject],
    b: Iterable[DetectedObject],
    *,
    size: tuple[int, int],
    least_a: float = 0.0,
    least_b: float = 0.0,
) -> FrameAgreement:
    """Compare the objects of A and of B in one frame of (width, height). least_a, least_b: their minimum scores.

    Objects below the minimum only show which of the others the other detector nearly found.
    """
    strong_a, weak_a = _split(a, least_a)
    strong_b, weak_b = _split(b, least_b)
    agreed, rest_a, rest_b = _matched(strong_a, strong_b, is_same_class=True)
    other_class, only_a, only_b = _matched(rest_a, rest_b, is_same_class=False)
    under_a = len(_matched(only_a, weak_b, is_same_class=True)[0])
    under_b = len(_matched(weak_a, only_b, is_same_class=True)[0])
    return FrameAgreement(size, agreed, other_class, only_a, only_b, under_a, under_b)


def iou(a: Box, b: Box) -> float:
    """Return the area that both boxes share, as a share of the area that they cover together."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(a) + _area(b) - shared)


def pixels(box: Box, size: tuple[int, int]) -> float:
    """Return the area of a box in square pixels of a frame of (width, height)."""
    return _area(box) * size[0] * size[1]


def size_of(area: float) -> str:
    """Return the name of COCO's size for an area in square pixels."""
    return next(name for name, above in SIZES if area < above)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _split(objects: Iterable[DetectedObject], least: float) -> tuple[list[DetectedObject], list[DetectedObject]]:
    strong: list[DetectedObject] = []
    weak: list[DetectedObject] = []
    for o in objects:
        (strong if o.score >= least else weak).append(o)
    return strong, weak


def _matched(
    a: Sequence[DetectedObject], b: Sequence[DetectedObject], *, is_same_class: bool
) -> tuple[list[Pair], list[DetectedObject], list[DetectedObject]]:
    """Return (pairs, the rest of `a`, the rest of `b`)."""
    found = [
        (overlap, m, n)
        for (m, one), (n, other) in product(enumerate(a), enumerate(b))
        if (one.label == other.label) == is_same_class and (overlap := iou(one.box, other.box)) >= LEAST_IOU
    ]
    found.sort(key=lambda item: (-item[0], *sorted((_key(a[item[1]]), _key(b[item[2]])))))
    pairs: list[Pair] = []
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    for overlap, m, n in found:
        if m not in taken_a and n not in taken_b:
            taken_a.add(m)
            taken_b.add(n)
            pairs.append(Pair(a[m], b[n], overlap))
    rest_a = [o for m, o in enumerate(a) if m not in taken_a]
    return pairs, rest_a, [o for n, o in enumerate(b) if n not in taken_b]


def _key(o: DetectedObject) -> tuple[Box, float, str]:
    return o.box, o.score, o.label
