"""The result of a comparison of two detectors, in numbers and in words. Pure.

Example:
    verdict = judge(comparison, a, b, "camera lobby", describe())
    verdict.conclusion, verdict.warnings
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import msgspec

from shared.contract.events import DetectedObject
from shared.models.machine import Machine
from tidegate.models.agreement import Count
from tidegate.models.candidate import Candidate
from tidegate.models.comparison import SLOW, Comparison, Side, Worst

# Fewer objects than this show little.
ENOUGH = 30
# The labels that a sentence lists.
_SOME = 8


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two detectors. size: (width, height) of its pictures; None: any. ms: of a picture."""

    candidate: Candidate
    detector: str
    size: tuple[int, int] | None
    labels: int
    min_score: float
    ms: float | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A frame where they differ much. other_class: pairs of A's object and B's.

    offset_s: seconds from the first compared segment, which is the place in a file.
    """

    camera: str
    time: dt.datetime
    offset_s: float
    only_a: list[DetectedObject]
    only_b: list[DetectedObject]
    other_class: list[tuple[DetectedObject, DetectedObject]]

    @property
    def words(self) -> str:
        """What differs in it."""
        both = [f"{a.label} {a.score:.2f} of A is {b.label} {b.score:.2f} of B" for a, b in self.other_class]
        single = [
            f"only {side}: {', '.join(f'{o.label} {o.score:.2f}' for o in objects)}"
            for side, objects in (("A", self.only_a), ("B", self.only_b))
            if objects
        ]
        return "; ".join([*single, *both])


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result. under_a, under_b: objects of only one that the other scores below its minimum.

    classes, sizes: counts by name. confusions: (A's class, B's, pairs). skipped: segments by reason. pictures: path of
    the contact sheet of `worst`; empty: none.
    """

    a: Compared
    b: Compared
    footage: str
    segments: int
    skipped: dict[str, int]
    frames: int
    total: Count
    under_a: int
    under_b: int
    classes: dict[str, Count]
    sizes: dict[str, Count]
    confusions: list[tuple[str, str, int]]
    aliases: dict[str, str]
    only_classes_a: list[str]
    only_classes_b: list[str]
    conclusion: str
    warnings: list[str]
    worst: list[Difference]
    machine: Machine
    pictures: str = ""

    @property
    def pace(self) -> str:
        """The time of each, in words."""
        if not self.a.ms or not self.b.ms:
            return "not measured"
        machine = self.machine
        load = f"; the machine was busy (load {machine.load:g} on {machine.cores} cores)" if machine.was_busy else ""
        share = self.b.ms / self.a.ms
        return f"A {self.a.ms:.1f} ms a picture, B {self.b.ms:.1f}: B takes {share:.2f} of A's time{load}"


def judge(comparison: Comparison, a: Candidate, b: Candidate, footage: str, machine: Machine) -> Verdict:
    """Return the result so far. footage: its source, in words. machine: as it was before."""
    tally, classes = comparison.tally, comparison.classes
    return Verdict(
        a=_compared(a, comparison.a),
        b=_compared(b, comparison.b),
        footage=footage,
        segments=comparison.segments,
        skipped=dict(comparison.skipped),
        frames=tally.frames,
        total=tally.total,
        under_a=tally.under_a,
        under_b=tally.under_b,
        classes=tally.classes,
        sizes=tally.sizes,
        confusions=tally.confusions,
        aliases=dict(classes.aliases),
        only_classes_a=classes.only_a,
        only_classes_b=classes.only_b,
        conclusion=conclusion(tally.total, tally.frames, tally.under_a, tally.under_b),
        warnings=list(_warnings(comparison, a, b)),
        worst=[_difference(found, comparison.begins or found.time) for found in comparison.worst],
        machine=machine,
    )


def conclusion(total: Count, frames: int, under_a: int, under_b: int) -> str:
    """Return one sentence with the numbers of `total`. under_a, under_b: as of a frame."""
    if not total.objects:
        return f"neither finds an object in {frames} frames"
    if total.agreed == total.objects:
        return f"both find the same {total.objects} objects in {frames} frames{_scores(total)}"
    share = total.agreed / total.objects
    parts = [f"both find {total.agreed} of {total.objects} objects in {frames} frames ({share:.0%}){_scores(total)}"]
    for side, other, count, under in (("A", "B", total.only_a, under_a), ("B", "A", total.only_b, under_b)):
        detail = f", of which {other} scores {under} under its minimum" if under else ""
        parts.append(f"only {side} finds {count}{detail}")
    if total.other_class:
        parts.append(f"{total.other_class} have one box and two classes")
    return "; ".join(parts)


def _scores(total: Count) -> str:
    if total.iou is None or total.score_change is None:
        return ""
    return f", with a mean IoU of {total.iou:.2f} and scores of B that differ by {total.score_change:+.3f}"


def _warnings(comparison: Comparison, a: Candidate, b: Candidate) -> Iterator[str]:
    yield from (candidate.warning for candidate in (a, b) if candidate.warning)
    if (a.spec, a.settings) == (b.spec, b.settings):
        yield "A and B are one detector with the same settings: give another, or a setting such as --b CV_PRECISION=f32"
    total, classes = comparison.tally.total, comparison.classes
    for side, found, own in (
        ("A", total.agreed + total.other_class + total.only_a, comparison.a),
        ("B", total.agreed + total.other_class + total.only_b, comparison.b),
    ):
        if not found:
            yield f"{side} finds nothing in {comparison.tally.frames} frames: {_best(own)}"
    if 0 < total.objects < ENOUGH:
        yield f"{total.objects} objects show little: compare on more video, by --camera, --video or --live"
    for side, other, only in (("A", "B", classes.only_a), ("B", "A", classes.only_b)):
        if only:
            number = sum(_of(comparison, label, side) for label in only)
            yield (
                f"{other} lacks {len(only)} of {side}'s classes ({_listed(only)}), with {number} objects here: if two "
                "names mean one class, join them by --alias"
            )
    if late := comparison.skipped[SLOW]:
        share = late / (late + comparison.segments)
        yield f"{share:.0%} of the segments were skipped as {SLOW}: the others are a sample; --fps 1 takes more of them"


def _of(comparison: Comparison, label: str, side: str) -> int:
    count = comparison.tally.classes.get(label, Count())
    return count.other_class + (count.only_a if side == "A" else count.only_b)


def _best(side: Side) -> str:
    if side.best:
        return f"its best score is {side.best:.2f}, under {side.least:g}; lower its minimum score"
    return "not even at a low score; see its boxes by 'tidegate model show', or give video with objects of its classes"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SOME]) + (", …" if len(labels) > _SOME else "")


def _compared(candidate: Candidate, side: Side) -> Compared:
    detector = side.detector
    return Compared(
        candidate=candidate,
        detector=detector.name,
        size=detector.size or detector.within,
        labels=len(detector.labels),
        min_score=side.least,
        ms=side.ms,
    )


def _difference(worst: Worst, begins: dt.datetime) -> Difference:
    found = worst.agreement
    return Difference(
        camera=worst.camera,
        time=worst.time,
        offset_s=(worst.time - begins).total_seconds(),
        only_a=found.only_a,
        only_b=found.only_b,
        other_class=[(pair.a, pair.b) for pair in found.other_class],
    )
