"""Which objects of one frame are those of the frames before. Pure.

    tracker = Tracker(lost_s=2)
    numbers, lost = tracker.match(time, sightings, aspect)  # a track's number for each sighting, and tracks given up
    Tracker(2, tracker.state)                               # goes on exactly so

It matches in two rounds, as ByteTrack does (Zhang et al., 2022): what the detector is sure of goes first and may begin
a track, the rest may only keep one. A Kalman filter of constant velocity says where each object is expected and how
surely, by the time that has really passed. A pair is possible where the box is likely enough there, and where both
overlap once they are made larger by the time that has passed. Of possible pairs those are matched that are likeliest
and overlap most. So an object that moves by its own width between two frames is found again as well as one that hardly
moves, at any rate of frames.

Why it is our own and no library: docs/adr/0003-own-tracker.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.analytics.objects import Box, overlap

Floats = NDArray[np.float64]


class TrackerTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Where no other source is named, a value was tuned on the footage of docs/explanation/tracking.md: the campus, TUD
    and MOT16. Sizes are of the object: the root of its area.
    """

    track_activation_threshold: float = 0.4
    """A detection of at least this score may begin a track; one below it may only keep one. cv reports from 0.4 on."""

    minimum_score: float = 0.1
    """A detection below this score is not looked at."""

    duplicate_iou: float = 0.5
    """Of two boxes of one group that overlap this much, the one with the lower score is a double and is dropped."""

    shadow_iou: float = 0.3
    """A box that overlaps a matched one this much begins no track."""

    shadow_inside: float = 0.85
    """A box of which this share lies inside a matched one begins no track."""

    position_noise: float = 0.08
    """A detected box is off by this standard deviation, in sizes."""

    expectation_noise: float = 0.08
    """Where an object is expected is off by this standard deviation more, in sizes: a velocity is never constant."""

    velocity_noise: float = 0.4
    """A velocity changes by this standard deviation, in sizes a second, within a second."""

    initial_velocity: float = 0.8
    """An object that was seen once moves with this standard deviation, in sizes a second."""

    shape_noise: float = 0.25
    """The logarithms of width and height tremble by this standard deviation."""

    maximum_shape_distance: float = 4.0
    """A box's shape may be off by at most this many standard deviations."""

    maximum_distance: float = 4.0
    """A box may be at most this many standard deviations from where its object is expected."""

    maximum_distance_unsure: float = 3.0
    """The same for a box below the activation threshold."""

    maximum_unlikelihood: float = 6.0
    """A pair is possible up to this unlikelihood: minus twice the logarithm of its likelihood."""

    unlikelihood_per_iou: float = 16.0
    """This much unlikelihood costs as much as all of the overlap brings."""

    unmatched_cost: float = 0.45
    """A track and a box that both stay alone cost this much together. It is more than any pair costs, but less than
    giving all objects of a row to their neighbours where one left at its end and another joined."""

    buffer: float = 0.1
    """Boxes are made larger by this share of themselves on each side, before their overlap is taken (C-BIoU)."""

    buffer_per_second: float = 2.0
    """Boxes are made larger by this share more for each second that has passed since the frame before."""

    maximum_buffer: float = 2.0
    """Boxes are made larger by at most this share on each side: then they are five times as wide and high."""

    minimum_iou_threshold: float = 0.1
    """Boxes made larger must overlap this much to be a pair."""

    near_iou: float = 0.2
    """A box that fits no track is near one where they overlap this much, made larger by `near_buffer`."""

    near_buffer: float = 0.3
    """Boxes are made larger by this share on each side to see whether one is near a track."""

    near_hits: int = 3
    """A box that fits nothing goes to the one track near it where that was seen at least this many times."""

    damping_s: float = 2.0
    """What is unseen slows down: its velocity fades to 1/e in this time."""

    once_s: float = 0.6
    """A track that was seen once is given up after this time unseen."""

    unsure_s: float = 1.0
    """A box below the activation threshold does not bring back a track that was unseen for longer than this."""

    unlooked_s: float = 1.0
    """Between two frames, however far apart, a track counts as unseen for at most this long."""

    size_gain: float = 0.5
    """A track's width and height move this share of the way to those of a new box."""


TUNING = TrackerTuning()


class Sighting(NamedTuple):
    """What a detector saw in one place of a frame."""

    label: str
    score: float
    box: Box


class _Measured(NamedTuple):
    """Middle and size of a box, in heights of the frame: x and widths are stretched by the aspect."""

    x: float
    y: float
    w: float
    h: float


class Tracklet(msgspec.Struct, array_like=True):
    """What is known of one track: middle and size in heights of the frame, velocity in heights a second.

    p, pv, v: variance of the middle, its covariance with the velocity, variance of the velocity; the same for x and y.
    unseen: seconds. hits: how often it was seen.
    """

    number: int
    group: str
    x: float
    y: float
    w: float
    h: float
    vx: float
    vy: float
    p: float
    pv: float
    v: float
    unseen: float = 0.0
    hits: int = 1

    @property
    def area(self) -> float:
        return self.w * self.h


class TrackerState(msgspec.Struct):
    """All that a tracker knows. time: of the last frame, seconds. count: tracks that were ever begun."""

    time: float | None = None
    count: int = 0
    tracklets: list[Tracklet] = []


class Tracker:
    """See the module. lost_s: how long an object may be unseen."""

    def __init__(self, lost_s: float, state: TrackerState | None = None) -> None:
        self.state = state or TrackerState()
        self._lost_s = lost_s

    def match(self, time: float, found: Sequence[Sighting], aspect: float) -> tuple[list[int | None], list[int]]:
        """(the number of each sighting's track, or None; the tracks that are given up).

        time: seconds, after the last frame's. aspect: of the frame, width over height.
        """
        s = self.state
        passed = 0.0 if s.time is None else time - s.time
        s.time = time
        for t in s.tracklets:
            _predict(t, passed)
        numbers: list[int | None] = [None] * len(found)
        for group, mine in _groups(found):
            for i, number in self._match_group(group, mine, found, passed, aspect):
                numbers[i] = number
        seen = set(numbers)
        lost = []
        for t in s.tracklets:
            if t.number not in seen:
                t.unseen += min(passed, TUNING.unlooked_s)
                if t.unseen > (self._lost_s if t.hits > 1 else TUNING.once_s):
                    lost.append(t.number)
        s.tracklets = [t for t in s.tracklets if t.number not in lost]
        return numbers, lost

    def _match_group(
        self, group: str, mine: Sequence[int], found: Sequence[Sighting], passed: float, aspect: float
    ) -> Iterator[tuple[int, int]]:
        """(index of a sighting, number of its track). passed: seconds since the frame before."""
        boxes = {i: _measured(found[i].box, aspect) for i in mine}
        sure = [i for i in mine if found[i].score >= TUNING.track_activation_threshold]
        unsure = [i for i in mine if found[i].score < TUNING.track_activation_threshold]
        buffer = min(TUNING.maximum_buffer, TUNING.buffer + TUNING.buffer_per_second * passed)
        known = [t for t in self.state.tracklets if t.group == group]
        pairs = _pairs(known, sure, boxes, TUNING.maximum_distance, buffer)
        if passed <= self._lost_s:
            pairs += _leftovers(known, pairs, sure, boxes)
        matched = {t.number for t, _ in pairs}
        rest = [t for t in known if t.number not in matched and t.unseen <= TUNING.unsure_s]
        pairs += _pairs(rest, unsure, boxes, TUNING.maximum_distance_unsure, buffer)
        for t, i in pairs:
            _correct(t, boxes[i])
            yield i, t.number
        taken = {i for _, i in pairs}
        for i in sure:
            if i not in taken and not any(_shadows(found[i].box, found[k].box) for k in taken):
                yield i, self._begin(group, boxes[i])

    def _begin(self, group: str, box: _Measured) -> int:
        s = self.state
        s.count += 1
        area = box.w * box.h
        p, v = TUNING.position_noise**2 * area, TUNING.initial_velocity**2 * area
        s.tracklets.append(Tracklet(s.count, group, *box, 0.0, 0.0, p, 0.0, v))
        return s.count


_GROUPS = {"car": "vehicle", "truck": "vehicle", "bus": "vehicle", "train": "vehicle"}


def group_of(label: str) -> str:
    """A label's group: labels that detectors confuse on one object. Tracks are matched within a group alone."""
    return _GROUPS.get(label, label)


def _groups(found: Sequence[Sighting]) -> Iterable[tuple[str, list[int]]]:
    """(group, the indices of its sightings by falling score), without doubles."""
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(found)), key=lambda i: (-found[i].score, found[i])):
        if found[i].score >= TUNING.minimum_score:
            kept = groups.setdefault(group_of(found[i].label), [])
            if not any(overlap(found[i].box, found[k].box) >= TUNING.duplicate_iou for k in kept):
                kept.append(i)
    return sorted(groups.items())


def _shadows(box: Box, taken: Box) -> bool:
    """Whether `box` is likely a second box of the object that has `taken`."""
    width = min(box[2], taken[2]) - max(box[0], taken[0])
    height = min(box[3], taken[3]) - max(box[1], taken[1])
    if width <= 0 or height <= 0:
        return False
    return (
        width * height >= TUNING.shadow_inside * (box[2] - box[0]) * (box[3] - box[1])
        or overlap(box, taken) >= TUNING.shadow_iou
    )


def _measured(box: Box, aspect: float) -> _Measured:
    x1, y1, x2, y2 = box
    return _Measured((x1 + x2) / 2 * aspect, (y1 + y2) / 2, (x2 - x1) * aspect, y2 - y1)


def _predict(t: Tracklet, passed: float) -> None:
    way, kept = passed, 1.0
    if t.unseen:
        kept = math.exp(-passed / TUNING.damping_s)
        way = TUNING.damping_s * (1 - kept)
    t.x, t.y = t.x + t.vx * way, t.y + t.vy * way
    t.vx, t.vy = t.vx * kept, t.vy * kept
    q = TUNING.velocity_noise**2 * t.area
    t.p += 2 * passed * t.pv + passed**2 * t.v + q * passed**3 / 3
    t.pv += passed * t.v + q * passed**2 / 2
    t.v += q * passed


def _correct(t: Tracklet, box: _Measured) -> None:
    s = t.p + TUNING.position_noise**2 * box.w * box.h
    gain, gain_v = t.p / s, t.pv / s
    dx, dy = box.x - t.x, box.y - t.y
    t.x, t.y = t.x + gain * dx, t.y + gain * dy
    t.vx, t.vy = t.vx + gain_v * dx, t.vy + gain_v * dy
    t.v -= gain_v * t.pv
    t.pv *= 1 - gain
    t.p *= 1 - gain
    t.w, t.h = t.w + TUNING.size_gain * (box.w - t.w), t.h + TUNING.size_gain * (box.h - t.h)
    t.unseen = 0.0
    t.hits += 1


def _pairs(
    known: Sequence[Tracklet], turn: Sequence[int], boxes: dict[int, _Measured], gate: float, buffer: float
) -> list[tuple[Tracklet, int]]:
    """The best assignment of sightings to tracks, of those pairs that are possible.

    turn: indices of the sightings. gate: most standard deviations from where a track is expected.
    """
    if not known or not turn:
        return []
    t = np.array([(k.x, k.y, k.w, k.h, k.p) for k in known])[:, :, None]
    b = np.array([boxes[i] for i in turn]).T
    area = t[:, 2] * t[:, 3]
    variance = t[:, 4] + (TUNING.position_noise**2 + TUNING.expectation_noise**2) * area
    far = ((t[:, 0] - b[0]) ** 2 + (t[:, 1] - b[1]) ** 2) / variance
    other = (np.log(t[:, 2] / b[2]) ** 2 + np.log(t[:, 3] / b[3]) ** 2) / TUNING.shape_noise**2
    unlikely = far + other + 2 * np.log(variance / area)
    overlaps = _overlaps(t, b, buffer)
    possible = (
        (far <= gate**2)
        & (other <= TUNING.maximum_shape_distance**2)
        & (unlikely <= TUNING.maximum_unlikelihood)
        & (overlaps >= TUNING.minimum_iou_threshold)
    )
    cost = unlikely / TUNING.unlikelihood_per_iou - overlaps
    rows, columns = linear_sum_assignment(np.where(possible, cost, TUNING.unmatched_cost))
    return [(known[r], turn[c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if possible[r, c]]


def _leftovers(
    known: Sequence[Tracklet], pairs: Sequence[tuple[Tracklet, int]], sure: Sequence[int], boxes: dict[int, _Measured]
) -> list[tuple[Tracklet, int]]:
    """Pairs for boxes that jump, as a weak detector's do where an object is half hidden: they fit no track.

    Such a box goes to a track where that is the only one near it, was seen in the frame before, and not in this one.
    """
    matched, taken = {t.number for t, _ in pairs}, {i for _, i in pairs}
    alone = [i for i in sure if i not in taken]
    if not alone or all(t.number in matched for t in known):
        return []
    t = np.array([(k.x, k.y, k.w, k.h) for k in known])[:, :, None]
    near = _overlaps(t, np.array([boxes[i] for i in alone]).T, TUNING.near_buffer) >= TUNING.near_iou
    found: list[tuple[Tracklet, int]] = []
    for column, i in enumerate(alone):
        (rows,) = np.nonzero(near[:, column])
        track = known[int(rows[0])] if len(rows) == 1 else None
        if track and track.number not in matched and track.unseen == 0 and track.hits >= TUNING.near_hits:
            matched.add(track.number)
            found.append((track, i))
    return found


def _overlaps(t: Floats, b: Floats, buffer: float) -> Floats:
    """Intersection over union of boxes made larger, (n, m): of tracks, (n, 4 or more, 1), and sightings, (4, m)."""
    tw, th, bw, bh = (side * (1 + 2 * buffer) for side in (t[:, 2], t[:, 3], b[2], b[3]))
    width = np.minimum(t[:, 0] + tw / 2, b[0] + bw / 2) - np.maximum(t[:, 0] - tw / 2, b[0] - bw / 2)
    height = np.minimum(t[:, 1] + th / 2, b[1] + bh / 2) - np.maximum(t[:, 1] - th / 2, b[1] - bh / 2)
    common: Floats = np.clip(width, 0, None) * np.clip(height, 0, None)
    return common / (tw * th + bw * bh - common)
