"""Match the objects of one frame to those of the frames before. Pure.

    tracker = Tracker(lost_s=2)
    numbers, lost = tracker.match(time, sightings, aspect)  # a track's number for each sighting, and tracks given up
    Tracker(2, tracker.state)                               # goes on exactly so

Matching has two rounds, as in ByteTrack (Zhang et al., 2022). Confident detections go first and may begin a track; the
rest may only continue one. A Kalman filter of constant velocity predicts each object's place and its uncertainty, by
the time that has really passed.

A pair is possible if the box is likely enough there, and both overlap once enlarged by the time that has passed. The
likeliest possible pairs with the most overlap are matched. So an object that moves by its own width between two frames
is found again as well as one that hardly moves, at any frame rate.

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

from services.analytics.tracking.objects import Box, overlap

Floats = NDArray[np.float64]


# Values were tuned on the footage of docs/explanation/tracking.md unless another source is named: the campus, TUD and
# MOT16. Sizes are of the object: the root of its area.

# A detection of at least this score may begin a track; one below it may only continue one. cv reports from 0.4 on.
TRACK_ACTIVATION_THRESHOLD = 0.4
# Detections below this score are ignored.
MINIMUM_SCORE = 0.1
# If two boxes of one group overlap this much, the one with the lower score is a duplicate and is dropped.
DUPLICATE_IOU = 0.5
# A box that overlaps a matched one this much begins no track.
SHADOW_IOU = 0.3
# A box with this share inside a matched one begins no track.
SHADOW_INSIDE = 0.85
# Standard deviation of a detected box's position, in sizes.
POSITION_NOISE = 0.08
# Additional standard deviation of an object's expected position, in sizes: a velocity is never constant.
EXPECTATION_NOISE = 0.08
# Standard deviation of a velocity's change within a second, in sizes a second.
VELOCITY_NOISE = 0.4
# Standard deviation of the velocity of an object that was seen once, in sizes a second.
INITIAL_VELOCITY = 0.8
# Standard deviation of the logarithms of width and height.
SHAPE_NOISE = 0.25
# A box's shape may be off by at most this many standard deviations.
MAXIMUM_SHAPE_DISTANCE = 4.0
# A box may be at most this many standard deviations from where its object is expected.
MAXIMUM_DISTANCE = 4.0
# The same for a box below the activation threshold.
MAXIMUM_DISTANCE_UNSURE = 3.0
# A pair is possible up to this unlikelihood: minus twice the logarithm of its likelihood.
MAXIMUM_UNLIKELIHOOD = 6.0
# This much unlikelihood costs as much as all of the overlap brings.
UNLIKELIHOOD_PER_IOU = 16.0
# Cost of a track and a box that both stay unmatched. It is more than any pair costs. It is less than giving all objects
# of a row to their neighbours where one left at its end and another joined.
UNMATCHED_COST = 0.45
# Boxes are enlarged by this share of themselves on each side, before their overlap is computed (C-BIoU).
BUFFER = 0.1
# Boxes are enlarged by this additional share for each second since the frame before.
BUFFER_PER_SECOND = 2.0
# Boxes are enlarged by at most this share on each side: then they are five times as wide and high.
MAXIMUM_BUFFER = 2.0
# Enlarged boxes must overlap this much to be a pair.
MINIMUM_IOU_THRESHOLD = 0.1
# A box that fits no track is near one if they overlap this much, enlarged by NEAR_BUFFER.
NEAR_IOU = 0.2
# Boxes are enlarged by this share on each side to test whether one is near a track.
NEAR_BUFFER = 0.3
# A box that fits nothing goes to the one track near it if that was seen at least this many times.
NEAR_HITS = 3
# An unseen track slows down: its velocity decays to 1/e in this time.
DAMPING_S = 2.0
# A track that was seen once is given up after this time unseen.
ONCE_S = 0.6
# A box below the activation threshold does not continue a track unseen for longer than this.
UNSURE_S = 1.0
# Between two frames, however far apart, a track counts as unseen for at most this long.
UNLOOKED_S = 1.0
# A track's width and height move this share of the way to those of a new box.
SIZE_GAIN = 0.5


class Sighting(NamedTuple):
    """An object that a detector found in a frame."""

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
    """The state of one track: middle and size in heights of the frame, velocity in heights a second.

    p, pv, v: variance of the middle, its covariance with the velocity, variance of the velocity; the same for x and y.
    unseen: seconds. hits: number of times that it was seen.
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
    """The whole state of a tracker. time: of the last frame, seconds. count: number of tracks ever begun."""

    time: float | None = None
    count: int = 0
    tracklets: list[Tracklet] = []


class Tracker:
    """See the module. lost_s: how long an object may be unseen."""

    def __init__(self, lost_s: float, state: TrackerState | None = None) -> None:
        self.state = state or TrackerState()
        self._lost_s = lost_s

    def match(self, time: float, sightings: Sequence[Sighting], aspect: float) -> tuple[list[int | None], list[int]]:
        """Return (the number of each sighting's track, or None; the tracks that are given up).

        time: seconds, after the last frame's. aspect: of the frame, width over height.
        """
        s = self.state
        elapsed_s = 0.0 if s.time is None else time - s.time
        s.time = time
        for t in s.tracklets:
            _predict(t, elapsed_s)
        numbers: list[int | None] = [None] * len(sightings)
        for group, indices in _groups(sightings):
            for i, number in self._match_group(group, indices, sightings, elapsed_s, aspect):
                numbers[i] = number
        seen = set(numbers)
        lost = []
        for t in s.tracklets:
            if t.number not in seen:
                t.unseen += min(elapsed_s, UNLOOKED_S)
                if t.unseen > (self._lost_s if t.hits > 1 else ONCE_S):
                    lost.append(t.number)
        s.tracklets = [t for t in s.tracklets if t.number not in lost]
        return numbers, lost

    def _match_group(
        self, group: str, indices: Sequence[int], sightings: Sequence[Sighting], elapsed_s: float, aspect: float
    ) -> Iterator[tuple[int, int]]:
        """Yield (index of a sighting, number of its track). elapsed_s: seconds since the frame before."""
        boxes = {i: _measured(sightings[i].box, aspect) for i in indices}
        confident = [i for i in indices if sightings[i].score >= TRACK_ACTIVATION_THRESHOLD]
        uncertain = [i for i in indices if sightings[i].score < TRACK_ACTIVATION_THRESHOLD]
        buffer = min(MAXIMUM_BUFFER, BUFFER + BUFFER_PER_SECOND * elapsed_s)
        tracks = [t for t in self.state.tracklets if t.group == group]
        pairs = _pairs(tracks, confident, boxes, MAXIMUM_DISTANCE, buffer)
        if elapsed_s <= self._lost_s:
            pairs += _leftovers(tracks, pairs, confident, boxes)
        matched = {t.number for t, _ in pairs}
        rest = [t for t in tracks if t.number not in matched and t.unseen <= UNSURE_S]
        pairs += _pairs(rest, uncertain, boxes, MAXIMUM_DISTANCE_UNSURE, buffer)
        for t, i in pairs:
            _correct(t, boxes[i])
            yield i, t.number
        taken = {i for _, i in pairs}
        for i in confident:
            if i not in taken and not any(_shadows(sightings[i].box, sightings[k].box) for k in taken):
                yield i, self._begin(group, boxes[i])

    def _begin(self, group: str, box: _Measured) -> int:
        s = self.state
        s.count += 1
        area = box.w * box.h
        p, v = POSITION_NOISE**2 * area, INITIAL_VELOCITY**2 * area
        s.tracklets.append(Tracklet(s.count, group, *box, 0.0, 0.0, p, 0.0, v))
        return s.count


_GROUPS = {"car": "vehicle", "truck": "vehicle", "bus": "vehicle", "train": "vehicle"}


def group_of(label: str) -> str:
    """Return a label's group: labels that detectors confuse on one object. Tracks are matched only within a group."""
    return _GROUPS.get(label, label)


def _groups(sightings: Sequence[Sighting]) -> Iterable[tuple[str, list[int]]]:
    """Return (group, the indices of its sightings by falling score), without duplicates."""
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(sightings)), key=lambda i: (-sightings[i].score, sightings[i])):
        if sightings[i].score >= MINIMUM_SCORE:
            members = groups.setdefault(group_of(sightings[i].label), [])
            if not any(overlap(sightings[i].box, sightings[k].box) >= DUPLICATE_IOU for k in members):
                members.append(i)
    return sorted(groups.items())


def _shadows(box: Box, taken: Box) -> bool:
    """Whether `box` is likely a second box of the object that has `taken`."""
    width = min(box[2], taken[2]) - max(box[0], taken[0])
    height = min(box[3], taken[3]) - max(box[1], taken[1])
    if width <= 0 or height <= 0:
        return False
    return width * height >= SHADOW_INSIDE * (box[2] - box[0]) * (box[3] - box[1]) or overlap(box, taken) >= SHADOW_IOU


def _measured(box: Box, aspect: float) -> _Measured:
    x1, y1, x2, y2 = box
    return _Measured((x1 + x2) / 2 * aspect, (y1 + y2) / 2, (x2 - x1) * aspect, y2 - y1)


def _predict(t: Tracklet, elapsed_s: float) -> None:
    travel_s, decay = elapsed_s, 1.0
    if t.unseen:
        decay = math.exp(-elapsed_s / DAMPING_S)
        travel_s = DAMPING_S * (1 - decay)
    t.x, t.y = t.x + t.vx * travel_s, t.y + t.vy * travel_s
    t.vx, t.vy = t.vx * decay, t.vy * decay
    q = VELOCITY_NOISE**2 * t.area
    t.p += 2 * elapsed_s * t.pv + elapsed_s**2 * t.v + q * elapsed_s**3 / 3
    t.pv += elapsed_s * t.v + q * elapsed_s**2 / 2
    t.v += q * elapsed_s


def _correct(t: Tracklet, box: _Measured) -> None:
    s = t.p + POSITION_NOISE**2 * box.w * box.h
    gain, gain_v = t.p / s, t.pv / s
    dx, dy = box.x - t.x, box.y - t.y
    t.x, t.y = t.x + gain * dx, t.y + gain * dy
    t.vx, t.vy = t.vx + gain_v * dx, t.vy + gain_v * dy
    t.v -= gain_v * t.pv
    t.pv *= 1 - gain
    t.p *= 1 - gain
    t.w, t.h = t.w + SIZE_GAIN * (box.w - t.w), t.h + SIZE_GAIN * (box.h - t.h)
    t.unseen = 0.0
    t.hits += 1


def _pairs(
    tracks: Sequence[Tracklet], indices: Sequence[int], boxes: dict[int, _Measured], gate: float, buffer: float
) -> list[tuple[Tracklet, int]]:
    """Return the best assignment of sightings to tracks among the possible pairs.

    indices: of the sightings. gate: maximum standard deviations from where a track is expected.
    """
    if not tracks or not indices:
        return []
    t = np.array([(k.x, k.y, k.w, k.h, k.p) for k in tracks])[:, :, None]
    b = np.array([boxes[i] for i in indices]).T
    area = t[:, 2] * t[:, 3]
    variance = t[:, 4] + (POSITION_NOISE**2 + EXPECTATION_NOISE**2) * area
    far = ((t[:, 0] - b[0]) ** 2 + (t[:, 1] - b[1]) ** 2) / variance
    other = (np.log(t[:, 2] / b[2]) ** 2 + np.log(t[:, 3] / b[3]) ** 2) / SHAPE_NOISE**2
    unlikely = far + other + 2 * np.log(variance / area)
    overlaps = _overlaps(t, b, buffer)
    possible = (
        (far <= gate**2)
        & (other <= MAXIMUM_SHAPE_DISTANCE**2)
        & (unlikely <= MAXIMUM_UNLIKELIHOOD)
        & (overlaps >= MINIMUM_IOU_THRESHOLD)
    )
    cost = unlikely / UNLIKELIHOOD_PER_IOU - overlaps
    rows, columns = linear_sum_assignment(np.where(possible, cost, UNMATCHED_COST))
    return [(tracks[r], indices[c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if possible[r, c]]


def _leftovers(
    tracks: Sequence[Tracklet],
    pairs: Sequence[tuple[Tracklet, int]],
    confident: Sequence[int],
    boxes: dict[int, _Measured],
) -> list[tuple[Tracklet, int]]:
    """Return pairs for boxes that jump and fit no track, as a weak detector's do where an object is half hidden.

    Such a box goes to the only track near it, if that was seen in the frame before, and not in this one.
    """
    matched, taken = {t.number for t, _ in pairs}, {i for _, i in pairs}
    alone = [i for i in confident if i not in taken]
    if not alone or all(t.number in matched for t in tracks):
        return []
    t = np.array([(k.x, k.y, k.w, k.h) for k in tracks])[:, :, None]
    near = _overlaps(t, np.array([boxes[i] for i in alone]).T, NEAR_BUFFER) >= NEAR_IOU
    found: list[tuple[Tracklet, int]] = []
    for column, i in enumerate(alone):
        (rows,) = np.nonzero(near[:, column])
        track = tracks[int(rows[0])] if len(rows) == 1 else None
        if track and track.number not in matched and track.unseen == 0 and track.hits >= NEAR_HITS:
            matched.add(track.number)
            found.append((track, i))
    return found


def _overlaps(t: Floats, b: Floats, buffer: float) -> Floats:
    """Return the intersection over union of enlarged boxes, (n, m): tracks, (n, 4 or more, 1), and sightings,
    (4, m).
    """
    tw, th, bw, bh = (side * (1 + 2 * buffer) for side in (t[:, 2], t[:, 3], b[2], b[3]))
    width = np.minimum(t[:, 0] + tw / 2, b[0] + bw / 2) - np.maximum(t[:, 0] - tw / 2, b[0] - bw / 2)
    height = np.minimum(t[:, 1] + th / 2, b[1] + bh / 2) - np.maximum(t[:, 1] - th / 2, b[1] - bh / 2)
    common: Floats = np.clip(width, 0, None) * np.clip(height, 0, None)
    return common / (tw * th + bw * bh - common)
