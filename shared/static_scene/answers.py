"""A camera's earlier answers of a model, and which of them answers for new pictures. Pure.

Example:
    found = find(answers, pictures, start, max_age_s=300)         # or None: the model must answer
    answers = record_match(answers, found)                        # the earlier answer was published again
    answers = add(answers, pictures, start, value)                # the model answered

No detector says here which change is a visitor. So one differing block is enough for another answer, and noise is
learned from pictures that match, and from no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from shared.static_scene import compare, noise
from shared.static_scene.noise import Noise
from shared.static_scene.picture import Floats, Grey

T = TypeVar("T")

# The minimum difference of a block, in its standard deviations, as in cv.
DIFFERENCE_DEVIATIONS = 6.0
# Maximum number of answers of a camera: the empty scene, with and without a parked car, and one more.
MAX_ANSWERS = 3


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """An answer of the model. since: the time of its picture, Unix seconds by the camera's clock."""

    since: float
    picture: Grey
    value: T


class Answers(msgspec.Struct, Generic[T], frozen=True):
    """A camera's answers, the last used first, and each block's own noise."""

    noise: Noise
    answers: tuple[Answer[T], ...] = ()


class Match(msgspec.Struct, Generic[T], frozen=True):
    """An answer whose picture all new pictures equal. left: their residual differences, per block."""

    answer: Answer[T]
    left: list[Floats]


def new() -> Answers[T]:
    return Answers(noise.initial())


def find(answers: Answers[T], pictures: Sequence[Grey], start: float, max_age_s: float) -> Match[T] | None:
    """Return the answer that holds for each of these pictures too; None in a restless scene.

    start: of the pictures, Unix seconds. max_age_s: maximum seconds between an answer and its reuse.
    """
    deviation = answers.noise.deviation
    if not pictures or compare.is_restless(deviation):
        return None
    for one in answers.answers:
        if abs(start - one.since) <= max_age_s and (left := _same(one.picture, pictures, deviation)) is not None:
            return Match(one, left)
    return None


def record_match(answers: Answers[T], match: Match[T]) -> Answers[T]:
    """Record a reuse: learn the noise, and count the answer as used last."""
    learned = answers.noise
    for left in match.left:
        learned = noise.learn(learned, left, ())
    others = tuple(one for one in answers.answers if one is not match.answer)
    is_known = len(others) < len(answers.answers)
    return Answers(learned, (match.answer, *others) if is_known else answers.answers)


def add(answers: Answers[T], pictures: Sequence[Grey], start: float, value: T) -> Answers[T]:
    """Add an answer, in place of those with its picture. What moves in its pictures has no second time: then none."""
    deviation = answers.noise.deviation
    if not pictures or _same(pictures[0], pictures[1:], deviation) is None:
        return answers
    others = [one for one in answers.answers if _same(one.picture, pictures[:1], deviation) is None]
    return Answers(answers.noise, (Answer(start, pictures[0], value), *others)[:MAX_ANSWERS])


def _same(reference: Grey, pictures: Sequence[Grey], deviation: Floats) -> list[Floats] | None:
    """Return the residual differences of the pictures from a reference; None if a block of one differs."""
    found: list[Floats] = []
    for picture in pictures:
        left = compare.unexplained(picture, reference.astype("f4"), deviation)
        if left is None or compare.odd_blocks(left, deviation, DIFFERENCE_DEVIATIONS).any():
            return None
        found.append(left)
    return found
