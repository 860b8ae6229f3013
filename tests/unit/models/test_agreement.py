"""Where two detectors agree: each object counts once, and exchanging the detectors exchanges the result."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.events import Box, DetectedObject
from tidegate.models import agreement
from tidegate.models.agreement import LEAST_IOU, Count, FrameAgreement, Tally, compare

SIZE = (640, 480)
# Few places, scores and labels: boxes overlap, and ties happen.
EDGES = st.integers(0, 6).map(lambda n: n / 8)
SCORES = st.sampled_from([0.15, 0.3, 0.4, 0.6, 0.9])


def found(box: Box, label: str = "person", score: float = 0.9) -> DetectedObject:
    return DetectedObject(label=label, score=score, box=box)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(EDGES), draw(EDGES)
    return (x, y, x + draw(st.sampled_from([0.125, 0.2, 0.25])), y + draw(st.sampled_from([0.125, 0.2, 0.25])))


OBJECTS = st.lists(st.builds(found, boxes(), st.sampled_from(["person", "car", "dog"]), SCORES), max_size=6)
FRAMES = st.lists(st.tuples(OBJECTS, OBJECTS), max_size=4)


def compared(a: list[DetectedObject], b: list[DetectedObject], least: float = 0.4) -> FrameAgreement:
    return compare(a, b, size=SIZE, least_a=least, least_b=least)


def tally(frames: list[tuple[list[DetectedObject], list[DetectedObject]]]) -> Tally:
    sums = Tally()
    for a, b in frames:
        sums.add(compared(a, b))
    return sums


def mirrored(count: Count) -> Count:
    change = None if count.score_change is None else -count.score_change
    return msgspec.structs.replace(count, only_a=count.only_b, only_b=count.only_a, score_change=change)


def assert_close(one: dict[str, Count], other: dict[str, Count]) -> None:
    assert one.keys() == other.keys()
    for name, count in one.items():
        assert msgspec.structs.astuple(count) == pytest.approx(msgspec.structs.astuple(other[name]))


@given(OBJECTS, OBJECTS)
def test_each_object_counts_once_and_only_from_its_minimum_score_on(
    a: list[DetectedObject], b: list[DetectedObject]
) -> None:
    frame = compared(a, b)
    pairs = [*frame.agreed, *frame.other_class]
    key = agreement._key
    for side, single, paired in (
        (a, frame.only_a, [pair.a for pair in pairs]),
        (b, frame.only_b, [pair.b for pair in pairs]),
    ):
        assert sorted([*single, *paired], key=key) == sorted([o for o in side if o.score >= 0.4], key=key)
    assert all(pair.iou >= LEAST_IOU and pair.a.label == pair.b.label for pair in frame.agreed)
    assert all(pair.iou >= LEAST_IOU and pair.a.label != pair.b.label for pair in frame.other_class)
    assert 0 <= frame.under_a <= len(frame.only_a) and 0 <= frame.under_b <= len(frame.only_b)


@given(OBJECTS, OBJECTS)
def test_no_two_objects_of_one_box_stay_single(a: list[DetectedObject], b: list[DetectedObject]) -> None:
    frame = compared(a, b)
    assert all(agreement.iou(one.box, other.box) < LEAST_IOU for one, other in product(frame.only_a, frame.only_b))


@given(OBJECTS, OBJECTS)
def test_exchanging_the_detectors_exchanges_a_frame(a: list[DetectedObject], b: list[DetectedObject]) -> None:
    one, other = compared(a, b), compared(b, a)
    assert (one.only_a, one.only_b) == (other.only_b, other.only_a)
    assert (one.under_a, one.under_b) == (other.under_b, other.under_a)
    for pairs, swapped in ((one.agreed, other.agreed), (one.other_class, other.other_class)):
        assert sorted((repr(p.a), repr(p.b), p.iou) for p in pairs) == sorted(
            (repr(p.b), repr(p.a), p.iou) for p in swapped
        )
    assert one.disagreement == other.disagreement


@given(FRAMES)
def test_exchanging_the_detectors_exchanges_the_counts(
    frames: list[tuple[list[DetectedObject], list[DetectedObject]]],
) -> None:
    one, other = tally(frames), tally([(b, a) for a, b in frames])
    assert one.frames == other.frames == len(frames)
    assert (one.under_a, one.under_b) == (other.under_b, other.under_a)
    assert_close({"": one.total}, {"": mirrored(other.total)})
    assert_close(one.sizes, {name: mirrored(count) for name, count in other.sizes.items()})
    assert_close(one.classes, {name: mirrored(count) for name, count in other.classes.items()})
    assert list(one.classes) == list(other.classes)
    assert sorted(one.confusions) == sorted((a, b, n) for b, a, n in other.confusions)


@given(FRAMES)
def test_sizes_and_classes_add_up_to_the_total(
    frames: list[tuple[list[DetectedObject], list[DetectedObject]]],
) -> None:
    sums = tally(frames)
    for field in ("agreed", "only_a", "only_b"):
        total = getattr(sums.total, field)
        assert sum(getattr(count, field) for count in sums.sizes.values()) == total
        assert sum(getattr(count, field) for count in sums.classes.values()) == total
    # A pair of two classes is in the rows of both.
    assert sum(count.other_class for count in sums.classes.values()) == 2 * sums.total.other_class
    assert sum(n for _, _, n in sums.confusions) == sums.total.other_class


@given(OBJECTS)
def test_a_detector_agrees_with_itself(a: list[DetectedObject]) -> None:
    frame = compared(a, a)
    assert not frame.only_a and not frame.only_b and not frame.other_class and frame.disagreement == 0
    assert all(pair.iou == pytest.approx(1) for pair in frame.agreed)


@given(OBJECTS, OBJECTS)
def test_disagreement_is_zero_exactly_without_a_difference(a: list[DetectedObject], b: list[DetectedObject]) -> None:
    frame = compared(a, b)
    assert (frame.disagreement == 0) == (not frame.only_a and not frame.only_b and not frame.other_class)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_a_frame_repeats_itself_and_one_that_has_its_differences(
    a: list[DetectedObject], b: list[DetectedObject], more: list[DetectedObject]
) -> None:
    frame = compared(a, b)
    assert frame.repeats(frame)
    longer = frame._replace(only_a=[*frame.only_a, *more])
    assert frame.repeats(longer)
    assert longer.repeats(frame) == all(
        any(o.label == other.label and agreement.iou(o.box, other.box) >= LEAST_IOU for other in frame.only_a)
        for o in more
    )


@given(boxes(), boxes())
def test_an_iou_is_a_share_and_symmetric(a: Box, b: Box) -> None:
    assert 0 <= agreement.iou(a, b) == agreement.iou(b, a) <= 1 + 1e-9
    assert agreement.iou(a, a) == pytest.approx(1)


def test_the_best_overlap_is_matched_first() -> None:
    a, near, far = found((0, 0, 0.5, 0.5)), found((0, 0, 0.5, 0.48)), found((0, 0, 0.5, 0.3))
    frame = compared([a], [far, near])
    assert [pair.b for pair in frame.agreed] == [near] and frame.only_b == [far]


def test_a_class_is_matched_before_the_box_of_another_class() -> None:
    person, other = found((0, 0, 0.5, 0.5)), found((0, 0, 0.5, 0.5), "car")
    shifted = found((0, 0, 0.5, 0.4))
    frame = compared([person], [other, shifted])
    assert [pair.b for pair in frame.agreed] == [shifted] and frame.only_b == [other]


def test_an_object_that_the_other_scores_under_its_minimum_is_named() -> None:
    box = (0.1, 0.1, 0.3, 0.3)
    frame = compared([found(box)], [found(box, score=0.35), found((0.7, 0.7, 0.9, 0.9))])
    assert (frame.under_a, frame.under_b) == (1, 0)


@pytest.mark.parametrize(("side", "name"), [(31, "small"), (32, "medium"), (95, "medium"), (96, "large")])
def test_sizes_are_those_of_coco_in_pixels_of_the_source(side: int, name: str) -> None:
    box = (0.0, 0.0, side / SIZE[0], side / SIZE[1])
    assert agreement.size_of(round(agreement.pixels(box, SIZE))) == name
