"""A camera's scene: references, and the noise of each block. Pure.

Example:
    scene = new()
    match = find_match(scene, picture, now)                  # or None: it needs a full inference
    scene = record_match(scene, match)                       # the segment matches that reference
    scene, has_news = learn(scene, pictures, at, frames)     # it was analysed in full
    scene = merge(scene, another_replicas)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from services.cv.static_scene import compare, noise
from services.cv.static_scene.noise import Noise
from services.cv.static_scene.picture import Floats, Grey
from shared.contract.events import Box, DetectedObject

_Frames: TypeAlias = Sequence[Sequence[DetectedObject]]


# Chosen on the scenes of `make bench-static-scene`.

# The minimum difference of a block, in its standard deviations.
DIFFERENCE_DEVIATIONS = 6.0
# Maximum number of references that matched again: the empty scene, with and without a parked car, at night.
MAX_REFERENCES = 3
# The decay of a reference's use per segment: changed light adds references of its own.
USE_DECAY = 0.97
# The maximum age of a reference.
MAX_AGE_S = 300.0
# If more than this share of the blocks differ, the cause is light, not the blocks' noise.
BROAD_SHARE = 0.15
# About how many pictures of a segment to learn noise from: leaves move within a second, too.
NOISE_PICTURES = 3
# The overlap from which on two boxes are the same object.
SAME_IOU = 0.3
# A reference's picture moves by this share towards the next full inference that matches it.
FOLLOW_SHARE = 0.3


class ReferenceFrame(msgspec.Struct, frozen=True):
    """since: its time, Unix seconds by the camera's clock. picture: of its first frame. frames: the objects of each
    frame. times: the recent share of segments that matched it.
    """

    since: float
    picture: Floats
    frames: _Frames
    times: float = 0.0


class Match(NamedTuple):
    """A picture that matches a reference. left: the residual difference per block."""

    reference: ReferenceFrame
    left: Floats

    @property
    def since(self) -> float:
        return self.reference.since

    def objects(self, count: int) -> list[list[DetectedObject]]:
        """Return the objects of `count` frames: those of the reference's frames, repeated."""
        return [list(self.reference.frames[k % len(self.reference.frames)]) for k in range(count)]


class Scene(msgspec.Struct, frozen=True):
    """references: the references that matched again. last: the last full inference, if it is none of these."""

    noise: Noise
    references: tuple[ReferenceFrame, ...] = ()
    last: ReferenceFrame | None = None

    def all(self) -> Iterator[ReferenceFrame]:
        yield from self.references
        if self.last:
            yield self.last


def new() -> Scene:
    return Scene(noise.initial())


def find_match(scene: Scene, picture: Grey, now: float) -> Match | None:
    """Return the most similar reference that a picture matches."""
    spread = scene.noise.deviation
    found: list[tuple[float, Match]] = []
    for reference in scene.all():
        if abs(now - reference.since) <= MAX_AGE_S:
            left = compare.unexplained(picture, reference.picture, spread)
            if left is not None and (strength := compare.strength(left, spread)) < DIFFERENCE_DEVIATIONS:
                found.append((strength, Match(reference, left)))
    return min(found, key=lambda one: one[0])[1] if found else None


def record_match(scene: Scene, match: Match) -> Scene:
    """Record a match: learn the noise, and count the reference as used."""
    reference, learned = match.reference, noise.learn(scene.noise, match.left, ())
    scene = msgspec.structs.replace(scene, noise=learned)
    if all(reference is not one for one in scene.all()):
        return scene  # the reference has been replaced since
    return _used(scene, reference, reference)


def learn(scene: Scene, pictures: Sequence[Grey], at: float, frames: _Frames) -> tuple[Scene, bool]:
    """Learn from a full inference; return whether objects appeared or disappeared.

    pictures: of its frames, the first one first.
    """
    fresh = ReferenceFrame(at, pictures[0].astype(np.float32), frames)
    near = _nearest(scene, pictures[0])
    if near is None:
        return msgspec.structs.replace(scene, last=fresh), False
    is_known = _strength(scene, pictures[0], near) < DIFFERENCE_DEVIATIONS
    news = list(_news(frames, near.frames))
    learned = scene.noise
    for picture in pictures[:: max(1, len(pictures) // NOISE_PICTURES)]:
        left = compare.unexplained(picture, near.picture, learned.deviation)
        if left is not None and not _is_broad(left, learned):
            learned = noise.learn(learned, left, [o.box for o in news])
    scene = msgspec.structs.replace(scene, noise=learned)
    if not is_known:
        return msgspec.structs.replace(scene, last=fresh), bool(news)
    if near.since > at:
        return scene, bool(news)
    followed = near.picture + FOLLOW_SHARE * (fresh.picture - near.picture)
    return _used(scene, near, ReferenceFrame(at, followed, frames)), bool(news)


def merge(ours: Scene, theirs: Scene) -> Scene:
    """Merge the scenes of two replicas. Of two references with one picture the newer stays."""
    scene = Scene(noise.merge(ours.noise, theirs.noise), ours.references, ours.last)
    for reference in theirs.references:
        near = _nearest(scene, reference.picture)
        if near is None or _strength(scene, reference.picture, near) >= DIFFERENCE_DEVIATIONS:
            scene = msgspec.structs.replace(scene, references=_most_used((*scene.references, reference)))
            continue
        newer = near if near.since >= reference.since else reference
        newer = msgspec.structs.replace(newer, times=max(near.times, reference.times))
        references = tuple(one for one in scene.references if one is not near)
        last = None if scene.last is near else scene.last
        scene = Scene(scene.noise, _most_used((*references, newer)), last)
    return scene


def _used(scene: Scene, before: ReferenceFrame, after: ReferenceFrame) -> Scene:
    """Count a use of the reference `before`, which becomes `after`."""
    fade = USE_DECAY
    references = tuple(
        msgspec.structs.replace(reference, times=reference.times * fade)
        for reference in scene.references
        if reference is not before
    )
    last = None if scene.last is before else scene.last
    after = msgspec.structs.replace(after, times=before.times * fade + 1 - fade)
    return Scene(scene.noise, _most_used((*references, after)), last)


def _most_used(references: tuple[ReferenceFrame, ...]) -> tuple[ReferenceFrame, ...]:
    """Drop references that are too old, or least used.

    A lingering person adds references: they must not evict the empty scene.
    """
    newest = max(reference.since for reference in references)
    ranked = sorted(
        references, key=lambda reference: (newest - reference.since > MAX_AGE_S, -reference.times, -reference.since)
    )
    return tuple(ranked[:MAX_REFERENCES])


def _is_broad(left: Floats, learned: Noise) -> bool:
    return float((np.abs(left) >= DIFFERENCE_DEVIATIONS * learned.deviation).mean()) > BROAD_SHARE


def _nearest(scene: Scene, picture: Grey | Floats) -> ReferenceFrame | None:
    return min(scene.all(), key=lambda reference: _strength(scene, picture, reference), default=None)


def _strength(scene: Scene, picture: Grey | Floats, reference: ReferenceFrame) -> float:
    spread = scene.noise.deviation
    return compare.strength(compare.unexplained(picture, reference.picture, spread), spread)


def _news(a: _Frames, b: _Frames) -> Iterator[DetectedObject]:
    """Yield the objects found in only one of two segments."""
    ours, theirs = ([o for frame in frames for o in frame] for frames in (a, b))
    yield from (o for o in ours if not _is_among(o, theirs))
    yield from (o for o in theirs if not _is_among(o, ours))


def _is_among(one: DetectedObject, others: Sequence[DetectedObject]) -> bool:
    return any(_overlap(one.box, o.box) >= SAME_IOU for o in others)


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
