"""A camera's scene: references, and the noise of each block. Pure.

Example:
    scene = new()
    match = find_match(scene, picture, now)                  # or None: it needs a full inference
    scene = record_match(scene, match)                       # the segment matches that reference
    scene, has_news = learn(scene, pictures, at, frames)     # it was analysed in full
    scene = merge(scene, another_replicas)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from shared.contract.events import Box, DetectedObject
from shared.static_scene import compare, noise
from shared.static_scene.noise import Noise
from shared.static_scene.picture import Blocks, Floats, Grey

_Frames: TypeAlias = Sequence[Sequence[DetectedObject]]


# Chosen on the scenes of `make bench-static-scene`.

# The minimum difference of a block, in its standard deviations.
DIFFERENCE_DEVIATIONS = 6.0
# Maximum number of references with two full inferences: the empty scene, with and without a parked car, at night.
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
    """since: its time, Unix seconds by the camera's clock. picture: without what passed through it. frames: the objects
    of each frame. times: the recent share of segments that matched it. doubted: those of its objects that the last full
    inference missed, for the first time.
    """

    since: float
    picture: Floats
    frames: _Frames
    times: float = 0.0
    doubted: Sequence[DetectedObject] = ()


class Match(NamedTuple):
    """A picture that resembles a reference. left: the residual difference per block. odd: the blocks that differ; they
    must be drops, flakes or glints. is_sure: whether the reference's objects need no further full inference.
    """

    reference: ReferenceFrame
    left: Floats
    odd: Blocks
    is_sure: bool

    @property
    def since(self) -> float:
        return self.reference.since

    def objects(self, count: int) -> list[list[DetectedObject]]:
        """Return the objects of `count` frames: those of the reference's frames, repeated."""
        return [list(self.reference.frames[k % len(self.reference.frames)]) for k in range(count)]


class Scene(msgspec.Struct, frozen=True):
    """references: those whose picture had two full inferences. last: the last full inference of another picture."""

    noise: Noise
    references: tuple[ReferenceFrame, ...] = ()
    last: ReferenceFrame | None = None

    def all(self) -> Iterator[ReferenceFrame]:
        yield from self.references
        if self.last:
            yield self.last

    @property
    def is_restless(self) -> bool:
        """Whether so much changes by itself that a visitor could hide in it."""
        return compare.is_restless(self.noise.deviation)


def new() -> Scene:
    return Scene(noise.initial())


def find_match(scene: Scene, picture: Grey, now: float) -> Match | None:
    """Return the most similar reference; None if more than drops differs."""
    found = _nearest(scene, picture, [one for one in scene.all() if abs(now - one.since) <= MAX_AGE_S])
    return found if found and not compare.has_patch(found.odd) else None


def persistent(scene: Scene, reference: ReferenceFrame, odd: Blocks, picture: Grey) -> Blocks:
    """Return the differing blocks that still differ in a picture 0.2 s later, there or in the next block.

    Drops are elsewhere by then; a walker is not. The threshold is lower, as a difference may be just above it once.
    """
    spread = scene.noise.deviation
    left = compare.unexplained(picture, reference.picture, spread)
    if left is None:
        return odd
    return compare.near(odd) & compare.odd_blocks(left, spread, DIFFERENCE_DEVIATIONS / 2)


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
    scene = _undoubted(scene, _flat(frames))
    fresh = ReferenceFrame(at, _typical(pictures), frames)
    found = _nearest(scene, pictures[0], scene.all())
    if found is None:
        return msgspec.structs.replace(scene, last=fresh), False
    near, before = found.reference, scene
    news = list(_news(frames, near.frames))
    learned = scene.noise
    for picture in pictures[:: max(1, len(pictures) // NOISE_PICTURES)]:
        left = compare.unexplained(picture, near.picture, learned.deviation)
        if left is not None and not _is_broad(left, learned):
            learned = noise.learn(learned, left, [o.box for o in news])
    scene = msgspec.structs.replace(scene, noise=learned)
    is_known = _is_drops(before, found, pictures[1:]) and _ends_as(before, near, pictures)
    if not is_known or (news and _shows(before, near, pictures, news)):
        # The picture of a segment in which something moves would show only a part of it.
        is_still = _ends_as(before, fresh, pictures[::-1]) and _ends_as(before, fresh, pictures)
        return msgspec.structs.replace(scene, last=fresh if is_still else None), bool(news)
    if near.since > at:
        return scene, bool(news)
    followed = near.picture + FOLLOW_SHARE * (fresh.picture - near.picture)
    return _used(scene, near, _doubting(ReferenceFrame(at, followed, frames), near)), bool(news)


def merge(ours: Scene, theirs: Scene) -> Scene:
    """Merge the scenes of two replicas. Of two references with one picture the newer stays."""
    scene = Scene(noise.merge(ours.noise, theirs.noise), ours.references, ours.last)
    for reference in theirs.references:
        found = _nearest(scene, reference.picture, scene.all())
        if found is None or found.odd.any():
            scene = msgspec.structs.replace(scene, references=_most_used((*scene.references, reference)))
            continue
        near = found.reference
        older, newer = (reference, near) if near.since >= reference.since else (near, reference)
        merged = msgspec.structs.replace(_doubting(newer, older), times=max(near.times, reference.times))
        if near is scene.last and newer is near:
            # One full inference stays one: a block that it took for noise may hide the difference of the pictures.
            scene = msgspec.structs.replace(scene, last=merged)
            continue
        references = tuple(one for one in scene.references if one is not near)
        last = None if scene.last is near else scene.last
        scene = Scene(scene.noise, _most_used((*references, merged)), last)
    return scene


def _doubting(newer: ReferenceFrame, older: ReferenceFrame) -> ReferenceFrame:
    """Return `newer` with the objects that it misses for the first time: detectors miss what stands there.

    So an absence needs two full inferences running, a presence one. An object that flickered is not doubted.
    """
    seen, doubted = _flat(newer.frames), list(newer.doubted)
    for one in _flat(older.frames):
        if not _is_among(one, (*seen, *older.doubted, *doubted)) and _is_steady(one, older.frames):
            doubted.append(one)
    fresh = doubted[len(newer.doubted) :]
    frames = [[*frame, *fresh] for frame in newer.frames] if fresh else newer.frames
    return msgspec.structs.replace(newer, frames=frames, doubted=doubted)


def _undoubted(scene: Scene, seen: Sequence[DetectedObject]) -> Scene:
    """Remove the doubt about objects that were seen: the next miss is the first one running, whatever the picture."""
    references = tuple(
        msgspec.structs.replace(one, doubted=[o for o in one.doubted if not _is_among(o, seen)]) if one.doubted else one
        for one in scene.references
    )
    return msgspec.structs.replace(scene, references=references)


def _is_steady(one: DetectedObject, frames: _Frames) -> bool:
    return 2 * sum(_is_among(one, frame) for frame in frames) >= len(frames)


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


def _nearest(scene: Scene, picture: Grey | Floats, references: Iterable[ReferenceFrame]) -> Match | None:
    """Return the reference with the fewest differing blocks."""
    spread = scene.noise.deviation
    best: tuple[tuple[int, float], Match] | None = None
    for reference in references:
        left = compare.unexplained(picture, reference.picture, spread)
        if left is None:
            continue
        odd = compare.odd_blocks(left, spread, DIFFERENCE_DEVIATIONS)
        rank = int(odd.sum()), float(np.abs(left / spread).max())
        if best is None or rank < best[0]:
            is_sure = reference is not scene.last and not reference.doubted
            best = rank, Match(reference, left, odd, is_sure)
    return best[1] if best else None


def _ends_as(scene: Scene, reference: ReferenceFrame, pictures: Sequence[Grey]) -> bool:
    """Whether the last picture of a segment is a reference's, except for drops."""
    found = _nearest(scene, pictures[-1], [reference])
    return found is not None and _is_drops(scene, found, pictures[-2::-1])


def _is_drops(scene: Scene, match: Match, others: Sequence[Grey]) -> bool:
    """Whether nothing differs, or only drops, that are not in the other pictures. They follow each other."""
    odd = match.odd
    if compare.has_patch(odd):
        return False
    for picture in others:
        if not odd.any():
            break
        odd = persistent(scene, match.reference, odd, picture)
    return not odd.any()


def _typical(pictures: Sequence[Grey]) -> Floats:
    """Return the median of pictures, which has no drops."""
    return np.asarray(np.sort(np.stack(pictures), axis=0)[len(pictures) // 2], np.float32)


def _shows(scene: Scene, reference: ReferenceFrame, pictures: Sequence[Grey], news: Sequence[DetectedObject]) -> bool:
    """Whether a picture differs from a reference where objects have appeared or disappeared."""
    places = noise.covered([o.box for o in news])
    found = (_nearest(scene, picture, [reference]) for picture in pictures)
    return any(one is None or bool((one.odd & places).any()) for one in found)


def _flat(frames: _Frames) -> list[DetectedObject]:
    return [o for frame in frames for o in frame]


def _news(a: _Frames, b: _Frames) -> Iterator[DetectedObject]:
    """Yield the objects found in only one of two segments."""
    ours, theirs = _flat(a), _flat(b)
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
