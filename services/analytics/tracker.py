"""Which objects of one frame are those of the frames before. Pure.

    tracker = Tracker(lost_s=2)
    numbers, lost = tracker.match(time, detected, aspect)    # a number for each that is followed, and those given up
    Tracker(2, tracker.state)                               # goes on exactly so

Two rounds as in ByteTrack (Zhang et al., 2022): what the detector is sure of may begin a track and goes first, what
it is not sure of may only keep one. A Kalman filter of constant velocity, by the time that has really passed, says
where each is expected and how surely. A pair is possible where the box is likely enough there and both overlap, made
larger the more time has passed; of possible pairs those are matched that are likeliest and overlap most. So what
moves by its own width between two frames is found again as well as what hardly moves, at any rate of frames.

Why this and no library: docs/explanation/tracking.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.analytics.objects import Box, overlap

# What the detector is sure of, and what it is not even worth asking.
SURE, LEAST = 0.4, 0.1
# Of two boxes of one group that overlap so much the weaker is a double; and what overlaps one that was just matched so
# much, or is so much inside it, begins no track.
DOUBLE, SHADOW, INSIDE = 0.5, 0.3, 0.85
# Standard deviations, in sizes of the object (the root of its area): of where its box is, of where it is expected
# beyond that, of how its velocity changes in a second, and of the velocity of one just seen.
PLACE, EXTRA, TURN, VELOCITY = 0.08, 0.08, 0.4, 0.8
# Of the logarithms of width and height; and of how far a shape may be off, in those.
SHAPE, SHAPES = 0.25, 4.0
# How far a box may be from where it is expected, in standard deviations: of the sure ones, of the others.
GATE, UNSURE_GATE = 4.0, 3.0
# Likelier than this (as minus twice the logarithm of the likelihood) it may be the same object; so much of that counts
# for as much as all of the overlap. That a track and a box both stay alone costs more than any pair, but less than to
# give all in a row to their neighbours, where one went at its end and another came.
UNLIKELY, WORTH, ALONE = 6.0, 16.0, 0.45
# Boxes are made larger on each side by this share of themselves, and this more for each second, up to twice what they
# are; and must then overlap so much.
BUFFER, WIDER, WIDEST, TOUCH = 0.1, 2.0, 2.0, 0.1
# A box that fits nothing is near a track where both overlap so much, made larger by that; and a track that was seen so
# often is one for certain.
NEAR, NEAR_BUFFER, SURELY = 0.2, 0.3, 3
# What is unseen is expected to slow down, by this time.
DAMPED_S = 2.0
# What was seen once alone is not waited for as long; what the detector is not sure of does not bring back what was long
# unseen; and time in which nobody looked counts so much at most.
ONCE_S, UNSURE_S, UNLOOKED_S = 0.6, 1.0, 1.0

Floats = NDArray[np.float64]


class Sighting(NamedTuple):
    label: str
    score: float
    box: Box


class _Measured(NamedTuple):
    """Middle and size of a box; x and widths stretched, so that all are in heights of the frame."""

    x: float
    y: float
    w: float
    h: float


class Tracklet(msgspec.Struct, array_like=True):
    """Middle, size and velocity, in heights of the frame and a second. p, pv, v: their covariance, of x as of y.

    unseen: for how long. hits: how often it was seen.
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
    """time: of the last frame."""

    time: float | None = None
    count: int = 0
    tracklets: list[Tracklet] = []


class Tracker:
    """See the module. lost_s: how long an object may be unseen."""

    def __init__(self, lost_s: float, state: TrackerState | None = None) -> None:
        self.state = state or TrackerState()
        self._lost_s = lost_s

    def match(self, time: float, found: Sequence[Sighting], aspect: float) -> tuple[list[int | None], list[int]]:
        """(for each detection the number of its track, or None; tracks that are given up). time: after the last."""
        s = self.state
        passed = 0.0 if s.time is None else time - s.time
        s.time = time
        buffer = min(WIDEST, BUFFER + WIDER * passed)
        for t in s.tracklets:
            _predict(t, passed)
        numbers: list[int | None] = [None] * len(found)
        seen: set[int] = set()
        for group, mine in _groups(found):
            boxes = {i: _measured(found[i].box, aspect) for i in mine}
            sure = [i for i in mine if found[i].score >= SURE]
            known = [t for t in s.tracklets if t.group == group]
            pairs = _pairs(known, sure, boxes, GATE, buffer)
            if passed <= self._lost_s:
                pairs += _leftovers(known, pairs, sure, boxes)
            matched = {t.number for t, _ in pairs}
            rest = [t for t in known if t.number not in matched and t.unseen <= UNSURE_S]
            pairs += _pairs(rest, [i for i in mine if found[i].score < SURE], boxes, UNSURE_GATE, buffer)
            for t, i in pairs:
                _correct(t, boxes[i])
                numbers[i] = t.number
                seen.add(t.number)
            taken = [found[i].box for _, i in pairs]
            for i in sure:
                if numbers[i] is None and not any(_shadows(found[i].box, box) for box in taken):
                    numbers[i] = self._begin(group, boxes[i])
                    seen.add(s.count)
        lost = []
        for t in s.tracklets:
            if t.number not in seen:
                t.unseen += min(passed, UNLOOKED_S)
                if t.unseen > (self._lost_s if t.hits > 1 else ONCE_S):
                    lost.append(t.number)
        s.tracklets = [t for t in s.tracklets if t.number not in lost]
        return numbers, lost

    def _begin(self, group: str, box: _Measured) -> int:
        s = self.state
        s.count += 1
        area = box.w * box.h
        s.tracklets.append(Tracklet(s.count, group, *box, 0.0, 0.0, PLACE**2 * area, 0.0, VELOCITY**2 * area))
        return s.count


_GROUPS = {"car": "vehicle", "truck": "vehicle", "bus": "vehicle", "train": "vehicle"}


def group_of(label: str) -> str:
    """Labels that detectors confuse on one and the same object are one group: only within it are tracks matched."""
    return _GROUPS.get(label, label)


def _groups(found: Sequence[Sighting]) -> Iterable[tuple[str, list[int]]]:
    """(group, its detections by falling score), without doubles."""
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(found)), key=lambda i: (-found[i].score, found[i])):
        if found[i].score >= LEAST:
            kept = groups.setdefault(group_of(found[i].label), [])
            if not any(overlap(found[i].box, found[k].box) >= DOUBLE for k in kept):
                kept.append(i)
    return sorted(groups.items())


def _shadows(box: Box, taken: Box) -> bool:
    """Whether it is likely a second box of the object that has `taken`."""
    width = min(box[2], taken[2]) - max(box[0], taken[0])
    height = min(box[3], taken[3]) - max(box[1], taken[1])
    if width <= 0 or height <= 0:
        return False
    return width * height >= INSIDE * (box[2] - box[0]) * (box[3] - box[1]) or overlap(box, taken) >= SHADOW


def _measured(box: Box, aspect: float) -> _Measured:
    x1, y1, x2, y2 = box
    return _Measured((x1 + x2) / 2 * aspect, (y1 + y2) / 2, (x2 - x1) * aspect, y2 - y1)


def _predict(t: Tracklet, passed: float) -> None:
    way, kept = passed, 1.0
    if t.unseen:
        kept = math.exp(-passed / DAMPED_S)
        way = DAMPED_S * (1 - kept)
    t.x, t.y = t.x + t.vx * way, t.y + t.vy * way
    t.vx, t.vy = t.vx * kept, t.vy * kept
    q = TURN**2 * t.area
    t.p += 2 * passed * t.pv + passed**2 * t.v + q * passed**3 / 3
    t.pv += passed * t.v + q * passed**2 / 2
    t.v += q * passed


def _correct(t: Tracklet, box: _Measured) -> None:
    s = t.p + PLACE**2 * box.w * box.h
    gain, gain_v = t.p / s, t.pv / s
    dx, dy = box.x - t.x, box.y - t.y
    t.x, t.y = t.x + gain * dx, t.y + gain * dy
    t.vx, t.vy = t.vx + gain_v * dx, t.vy + gain_v * dy
    t.v -= gain_v * t.pv
    t.pv *= 1 - gain
    t.p *= 1 - gain
    t.w, t.h = t.w + 0.5 * (box.w - t.w), t.h + 0.5 * (box.h - t.h)
    t.unseen = 0.0
    t.hits += 1


def _pairs(
    known: Sequence[Tracklet], turn: Sequence[int], boxes: dict[int, _Measured], gate: float, buffer: float
) -> list[tuple[Tracklet, int]]:
    """The best assignment of detections to tracks, of those pairs that are likely at all."""
    if not known or not turn:
        return []
    t = np.array([(k.x, k.y, k.w, k.h, k.p) for k in known])[:, :, None]
    b = np.array([boxes[i] for i in turn]).T
    area = t[:, 2] * t[:, 3]
    variance = t[:, 4] + (PLACE**2 + EXTRA**2) * area
    far = ((t[:, 0] - b[0]) ** 2 + (t[:, 1] - b[1]) ** 2) / variance
    other = (np.log(t[:, 2] / b[2]) ** 2 + np.log(t[:, 3] / b[3]) ** 2) / SHAPE**2
    unlikely = far + other + 2 * np.log(variance / area)
    overlaps = _overlaps(t, b, buffer)
    possible = (far <= gate**2) & (other <= SHAPES**2) & (unlikely <= UNLIKELY) & (overlaps >= TOUCH)
    cost = unlikely / WORTH - overlaps
    rows, columns = linear_sum_assignment(np.where(possible, cost, ALONE))
    return [(known[r], turn[c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if possible[r, c]]


def _leftovers(
    known: Sequence[Tracklet], pairs: Sequence[tuple[Tracklet, int]], sure: Sequence[int], boxes: dict[int, _Measured]
) -> list[tuple[Tracklet, int]]:
    """A box that jumps, as a weak detector's do where an object is half hidden, fits nothing. Where just one track is
    near it, and that was seen in the frame before and not in this one, it is that one's.
    """
    matched, taken = {t.number for t, _ in pairs}, {i for _, i in pairs}
    alone = [i for i in sure if i not in taken]
    if not alone or all(t.number in matched for t in known):
        return []
    t = np.array([(k.x, k.y, k.w, k.h) for k in known])[:, :, None]
    near = _overlaps(t, np.array([boxes[i] for i in alone]).T, NEAR_BUFFER) >= NEAR
    found: list[tuple[Tracklet, int]] = []
    for column, i in enumerate(alone):
        (rows,) = np.nonzero(near[:, column])
        track = known[int(rows[0])] if len(rows) == 1 else None
        if track and track.number not in matched and track.unseen == 0 and track.hits >= SURELY:
            matched.add(track.number)
            found.append((track, i))
    return found


def _overlaps(t: Floats, b: Floats, buffer: float) -> Floats:
    """Intersection over union of boxes made larger: of tracks, (n, 4 or more, 1), and of detections, (4, m)."""
    tw, th, bw, bh = (side * (1 + 2 * buffer) for side in (t[:, 2], t[:, 3], b[2], b[3]))
    width = np.minimum(t[:, 0] + tw / 2, b[0] + bw / 2) - np.maximum(t[:, 0] - tw / 2, b[0] - bw / 2)
    height = np.minimum(t[:, 1] + th / 2, b[1] + bh / 2) - np.maximum(t[:, 1] - th / 2, b[1] - bh / 2)
    common: Floats = np.clip(width, 0, None) * np.clip(height, 0, None)
    return common / (tw * th + bw * bh - common)
