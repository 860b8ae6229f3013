"""What is known of a camera's scene: looks, and how much each block changes by itself. Pure.

scene = new()
match = known(scene, picture, now)                       # or None: it is to be looked at in full
scene = noted(scene, match)                              # the segment equals that look
scene, has_news = learned(scene, pictures, at, frames)   # it was looked at in full
scene = merged(scene, another_replicas)
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


class SceneTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Chosen on the scenes of `make bench-static-scene`."""

    differs: float = 6.0
    """A block differs from this many of its standard deviations on."""

    looks: int = 3
    """So many looks are remembered that were seen again: the empty scene, with and without a parked car, at night."""

    fades: float = 0.97
    """What a look was used for counts less with each segment, by this factor: changed light makes looks of its own."""

    most_age_s: float = 300.0
    """An older look says nothing."""

    broad: float = 0.15
    """Where more than this share of the blocks differ, it is the light, and tells nothing of a block's own noise."""

    pictures: int = 3
    """Noise is learned from about so many pictures of a segment: leaves move within a second, too."""

    same_iou: float = 0.3
    """A box is that of an object which a look has, too, where they overlap by this."""

    follows: float = 0.3
    """A look's picture moves this share of the way to the picture of the next full look that equals it."""


TUNING = SceneTuning()


class ReferenceFrame(msgspec.Struct, frozen=True):
    """since: when it was, Unix seconds by the camera's clock. picture: of its first frame. frames: what was found in
    each of its frames. times: share of the segments that were equal to it, of late.
    """

    since: float
    picture: Floats
    frames: _Frames
    times: float = 0.0


class Match(NamedTuple):
    """A picture equals a look. left: what of the difference neither light nor the camera explains, per block."""

    look: ReferenceFrame
    left: Floats

    def said(self, count: int) -> list[list[DetectedObject]]:
        """The objects of so many frames: those of the look's frames, again and again."""
        return [list(self.look.frames[k % len(self.look.frames)]) for k in range(count)]


class Scene(msgspec.Struct, frozen=True):
    """looks: those that were seen again. last: the last full look, where it is none of these."""

    noise: Noise
    looks: tuple[ReferenceFrame, ...] = ()
    last: ReferenceFrame | None = None

    def all(self) -> Iterator[ReferenceFrame]:
        yield from self.looks
        if self.last:
            yield self.last


def new() -> Scene:
    return Scene(noise.unknown())


def known(scene: Scene, picture: Grey, now: float) -> Match | None:
    """The look that a picture equals: of several the most alike."""
    spread = scene.noise.deviation
    found: list[tuple[float, Match]] = []
    for look in scene.all():
        if abs(now - look.since) <= TUNING.most_age_s:
            left = compare.unexplained(picture, look.picture, spread)
            if left is not None and (strength := compare.strength(left, spread)) < TUNING.differs:
                found.append((strength, Match(look, left)))
    return min(found, key=lambda one: one[0])[1] if found else None


def noted(scene: Scene, match: Match) -> Scene:
    """A segment equals a look: so much for the noise, and the look is one that was seen again."""
    look, heard = match.look, noise.learned(scene.noise, match.left, ())
    scene = msgspec.structs.replace(scene, noise=heard)
    if all(look is not one for one in scene.all()):
        return scene  # it has become another since
    return _used(scene, look, look)


def learned(scene: Scene, pictures: Sequence[Grey], at: float, frames: _Frames) -> tuple[Scene, bool]:
    """A segment was looked at in full; whether that found something, or nothing of it any more, beside what is known.

    pictures: of its frames, the first one first.
    """
    fresh = ReferenceFrame(at, pictures[0].astype(np.float32), frames)
    near = _nearest(scene, pictures[0])
    if near is None:
        return msgspec.structs.replace(scene, last=fresh), False
    is_known = _strength(scene, pictures[0], near) < TUNING.differs
    news = list(_news(frames, near.frames))
    heard = scene.noise
    for picture in pictures[:: max(1, len(pictures) // TUNING.pictures)]:
        left = compare.unexplained(picture, near.picture, heard.deviation)
        if left is not None and not _is_broad(left, heard):
            heard = noise.learned(heard, left, [o.box for o in news])
    scene = msgspec.structs.replace(scene, noise=heard)
    if not is_known:
        return msgspec.structs.replace(scene, last=fresh), bool(news)
    if near.since > at:
        return scene, bool(news)
    followed = near.picture + TUNING.follows * (fresh.picture - near.picture)
    return _used(scene, near, ReferenceFrame(at, followed, frames)), bool(news)


def merged(ours: Scene, theirs: Scene) -> Scene:
    """What two replicas know together. Of two looks with one picture the newer stays."""
    scene = Scene(noise.merged(ours.noise, theirs.noise), ours.looks, ours.last)
    for look in theirs.looks:
        near = _nearest(scene, look.picture)
        if near is None or _strength(scene, look.picture, near) >= TUNING.differs:
            scene = msgspec.structs.replace(scene, looks=_most_used((*scene.looks, look)))
            continue
        newer = near if near.since >= look.since else look
        newer = msgspec.structs.replace(newer, times=max(near.times, look.times))
        looks = tuple(one for one in scene.looks if one is not near)
        last = None if scene.last is near else scene.last
        scene = Scene(scene.noise, _most_used((*looks, newer)), last)
    return scene


def _used(scene: Scene, before: ReferenceFrame, after: ReferenceFrame) -> Scene:
    """A segment was equal to the look `before`, which becomes `after`."""
    fade = TUNING.fades
    looks = tuple(msgspec.structs.replace(look, times=look.times * fade) for look in scene.looks if look is not before)
    last = None if scene.last is before else scene.last
    after = msgspec.structs.replace(after, times=before.times * fade + 1 - fade)
    return Scene(scene.noise, _most_used((*looks, after)), last)


def _most_used(looks: tuple[ReferenceFrame, ...]) -> tuple[ReferenceFrame, ...]:
    """Without those that are too old, or are used least.

    Somebody who lingers makes looks of his own: the empty scene must not be forgotten for their sake.
    """
    newest = max(look.since for look in looks)
    ranked = sorted(looks, key=lambda look: (newest - look.since > TUNING.most_age_s, -look.times, -look.since))
    return tuple(ranked[: TUNING.looks])


def _is_broad(left: Floats, known: Noise) -> bool:
    return float((np.abs(left) >= TUNING.differs * known.deviation).mean()) > TUNING.broad


def _nearest(scene: Scene, picture: Grey | Floats) -> ReferenceFrame | None:
    return min(scene.all(), key=lambda look: _strength(scene, picture, look), default=None)


def _strength(scene: Scene, picture: Grey | Floats, look: ReferenceFrame) -> float:
    spread = scene.noise.deviation
    return compare.strength(compare.unexplained(picture, look.picture, spread), spread)


def _news(a: _Frames, b: _Frames) -> Iterator[DetectedObject]:
    """What was found in one of two segments and not in the other."""
    ours, theirs = ([o for frame in frames for o in frame] for frames in (a, b))
    yield from (o for o in ours if not _is_among(o, theirs))
    yield from (o for o in theirs if not _is_among(o, ours))


def _is_among(one: DetectedObject, others: Sequence[DetectedObject]) -> bool:
    return any(_overlap(one.box, o.box) >= TUNING.same_iou for o in others)


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
