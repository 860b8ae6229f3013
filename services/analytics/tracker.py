"""Which objects of one frame are those of the frames before. Pure.

    tracker = Tracker(lost_s=2)
    numbers, lost = tracker.step(time, detected, aspect)    # a number for each that is followed, and those given up
    Tracker(2, tracker.state)                               # goes on exactly so

Two rounds as in ByteTrack (Zhang et al., 2022): what the detector is sure of may begin a track and goes first, what it
is not sure of may only keep one. Pairs are matched by the overlap of boxes that are made larger on all sides, as in
C-BIoU (Yang et al., 2023), so that what moves by its own width between frames still meets; a Kalman filter of constant
velocity says where each is expected, by the time that has really passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.analytics.objects import Box

# What the detector is sure of.
SURE = 0.4
# Boxes are made larger by this share of their width and height, on each side; and must then overlap so much.
BUFFER, LEAST = 0.3, 0.1
# Standard deviations, in sizes of the object (the root of its area): of a box's place, of how its velocity changes in a
# second, of the velocity of one just seen.
PLACE, TURN, VELOCITY = 0.08, 0.8, 0.8
# What is unseen is expected to slow down, by this time.
DAMPED_S = 3.0
# What was seen once alone is not waited for as long; and what the detector is not sure of does not bring back what was
# long unseen.
ONCE_S, UNSURE_S = 0.6, 1.0

Floats = NDArray[np.float64]


class Detected(NamedTuple):
    label: str
    score: float
    box: Box


class Tracklet(msgspec.Struct, array_like=True):
    """Middle and size in shares of the frame, x stretched to heights; velocity in heights a second. p, pv, v: its
    covariance, the same in x and y. unseen: for how long. hits: how often it was seen.
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


class State(msgspec.Struct):
    """time: of the last frame."""

    time: float | None = None
    count: int = 0
    tracklets: list[Tracklet] = []


class Tracker:
    """See the module. lost_s: how long an object may be unseen, in time that was looked at."""

    def __init__(self, lost_s: float, state: State | None = None) -> None:
        self.state = state or State()
        self._lost_s = lost_s

    def step(self, time: float, found: Sequence[Detected], aspect: float) -> tuple[list[int | None], list[int]]:
        """(for each detection the number of its track, or None; tracks that are given up). time: after the last."""
        s = self.state
        passed = 0.0 if s.time is None else time - s.time
        s.time = time
        for t in s.tracklets:
            _predict(t, passed)
        numbers: list[int | None] = [None] * len(found)
        seen: set[int] = set()
        boxes = [_measured(d.box, aspect) for d in found]
        for group in sorted({group_of(d.label) for d in found}):
            mine = [i for i, d in enumerate(found) if group_of(d.label) == group]
            sure = [i for i in mine if found[i].score >= SURE]
            unsure = [i for i in mine if found[i].score < SURE]
            known = [t for t in s.tracklets if t.group == group]
            for turn in (sure, unsure):
                free = [t for t in known if t.number not in seen and (turn is sure or t.unseen <= UNSURE_S + passed)]
                for t, i in _pairs(free, turn, boxes):
                    _correct(t, boxes[i])
                    numbers[i] = t.number
                    seen.add(t.number)
            for i in sure:
                if numbers[i] is None:
                    numbers[i] = self._begin(group, boxes[i])
                    seen.add(s.count)
        lost = []
        for t in s.tracklets:
            if t.number not in seen:
                t.unseen += passed
                if t.unseen > (self._lost_s if t.hits > 1 else ONCE_S):
                    lost.append(t.number)
        s.tracklets = [t for t in s.tracklets if t.number not in lost]
        return numbers, lost

    def _begin(self, group: str, box: Floats) -> int:
        s = self.state
        s.count += 1
        x, y, w, h = map(float, box)
        area = w * h
        s.tracklets.append(Tracklet(s.count, group, x, y, w, h, 0.0, 0.0, PLACE**2 * area, 0.0, VELOCITY**2 * area))
        return s.count


_GROUPS = {"car": "vehicle", "truck": "vehicle", "bus": "vehicle", "train": "vehicle"}


def group_of(label: str) -> str:
    """Labels that detectors confuse on one and the same object are one group: only within it are tracks matched."""
    return _GROUPS.get(label, label)


def _measured(box: Box, aspect: float) -> Floats:
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2 * aspect, (y1 + y2) / 2, (x2 - x1) * aspect, y2 - y1])


def _predict(t: Tracklet, passed: float) -> None:
    if t.unseen:
        slower = math.exp(-passed / DAMPED_S)
        way = DAMPED_S * (1 - slower)
        t.x, t.y = t.x + t.vx * way, t.y + t.vy * way
        t.vx, t.vy = t.vx * slower, t.vy * slower
    else:
        t.x, t.y = t.x + t.vx * passed, t.y + t.vy * passed
    area = t.w * t.h
    q = TURN**2 * area
    t.p += 2 * passed * t.pv + passed**2 * t.v + q * passed**3 / 3
    t.pv += passed * t.v + q * passed**2 / 2
    t.v = min(t.v + q * passed, (2 * VELOCITY) ** 2 * area)


def _correct(t: Tracklet, box: Floats) -> None:
    x, y, w, h = map(float, box)
    s = t.p + PLACE**2 * w * h
    gain, gain_v = t.p / s, t.pv / s
    dx, dy = x - t.x, y - t.y
    t.x, t.y = t.x + gain * dx, t.y + gain * dy
    t.vx, t.vy = t.vx + gain_v * dx, t.vy + gain_v * dy
    t.v -= gain_v * t.pv
    t.pv *= 1 - gain
    t.p *= 1 - gain
    t.w, t.h = t.w + 0.5 * (w - t.w), t.h + 0.5 * (h - t.h)
    t.unseen = 0.0
    t.hits += 1


def _pairs(known: Sequence[Tracklet], turn: Sequence[int], boxes: Sequence[Floats]) -> list[tuple[Tracklet, int]]:
    """The assignment that overlaps most."""
    if not known or not turn:
        return []
    a = np.array([(t.x, t.y, t.w, t.h) for t in known])
    b = np.stack([boxes[i] for i in turn])
    overlap = _buffered_overlap(a, b)
    allowed = overlap >= LEAST
    rows, columns = linear_sum_assignment(np.where(allowed, 1 - overlap, 1e6))
    return [(known[r], turn[c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if allowed[r, c]]


def _buffered_overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every box of `a`, (n, 4) as middle and size, with every one of `b`, made larger."""
    size_a, size_b = a[:, None, 2:] * (1 + 2 * BUFFER), b[None, :, 2:] * (1 + 2 * BUFFER)
    low = np.maximum(a[:, None, :2] - size_a / 2, b[None, :, :2] - size_b / 2)
    high = np.minimum(a[:, None, :2] + size_a / 2, b[None, :, :2] + size_b / 2)
    common: Floats = np.clip(high - low, 0, None).prod(axis=2)
    total: Floats = common / (size_a.prod(axis=2) + size_b.prod(axis=2) - common)
    return total
