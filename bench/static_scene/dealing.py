"""The gate at so many replicas, on what was looked at once: which segments are looked at, and what is said of all.

Each segment goes to a replica by lot, as JetStream deals them. What a replica learns of one it knows a while later, and
what it shares others can read a while later, in a store that holds what `scenes` would.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.static_scene.films import AnalysedSegment, Film
from services.cv.static_scene.gate import Camera, Gate
from services.cv.static_scene.picture import Grey
from services.cv.static_scene.scene import find_match, learn
from shared.contract.events import DetectedObject

Frames = list[tuple[float, list[DetectedObject]]]

# A segment's result is known this long after the segment came; what is written can be read after this long. Seconds.
_RESULT_S, _STORE_S = 2.0, 0.5
_CAMERA = Camera("bench", "ssd")
# Pictures are compared at most this far apart, seconds.
_CHECK_S = 1.0


class Said(NamedTuple):
    """Of one segment. live: the frames of its event. settled: those of its revision, if there is one, else the same.
    looked: how many images the device was asked for, and later: how many of a backfill.
    """

    live: Frames
    settled: Frames
    looked: int
    later: int


class _Store:
    """The bucket: what was written, and when."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, bytes]] = []
        self.writes: list[float] = []
        self.bytes = 0

    def read(self, now: float) -> bytes | None:
        return next((data for at, data in reversed(self._entries) if at <= now), None)

    def write(self, now: float, data: bytes) -> None:
        self._entries.append((now + _STORE_S, data))
        self._entries = self._entries[-50:]
        self.writes.append(now)
        self.bytes = max(self.bytes, len(data))


class _Replica:
    def __init__(self, store: _Store, watch_s: float, least: float) -> None:
        self.gate = Gate(watch_s)
        self._store = store
        self._least = least
        self._results: list[tuple[float, AnalysedSegment, list[Grey]]] = []

    def judge(self, segment: AnalysedSegment, small: list[Grey]) -> tuple[list[list[DetectedObject]] | None, bool]:
        """(the boxes of the look that it equals, or None where it is looked at in full; whether that is news)."""
        now, gate = segment.seconds, self.gate
        self.learn(now)
        if gate.must_read(_CAMERA, now):
            gate.adopt(_CAMERA, self._store.read(now), now)
        found = [find_match(gate.scene(_CAMERA), picture, now) for picture in checked(segment, small)]
        match = found[0] if all(found) else None
        if match is None or gate.is_full_inference_due(_CAMERA, now, segment.duration):
            self._results.append((now + _RESULT_S, segment, small))
            frames = [wanted(objects, self._least) for _, objects in segment.frames]
            return None, match is None and learn(gate.scene(_CAMERA), small, now, frames)[1]
        gate.record_match(_CAMERA, match)
        return match.reference.frames, False

    def learn(self, now: float) -> None:
        due = [one for one in self._results if one[0] <= now]
        self._results = [one for one in self._results if one[0] > now]
        for _, segment, pictures in due:
            frames = [wanted(objects, self._least) for _, objects in segment.frames]
            self.gate.learn(_CAMERA, pictures, segment.seconds, frames)
        if due and self.gate.may_share(_CAMERA):
            self.gate.adopt(_CAMERA, self._store.read(now), now)
            if self.gate.may_share(_CAMERA):
                self._store.write(now, self.gate.share(_CAMERA))


def checked(segment: AnalysedSegment, small: list[Grey]) -> list[Grey]:
    """The pictures that are compared: the first one, and of a long segment one a second."""
    chosen, next_at = [], 0.0
    for (offset, _), picture in zip(segment.frames, small, strict=True):
        if offset >= next_at - 1e-6 and (not chosen or segment.duration > 1.5 * _CHECK_S):
            chosen.append(picture)
            next_at = offset + _CHECK_S
    return chosen


def wanted(objects: list[DetectedObject], least: float) -> list[DetectedObject]:
    return [o for o in objects if o.score >= least]


def full(segment: AnalysedSegment, least: float) -> Frames:
    return [(offset, wanted(objects, least)) for offset, objects in segment.frames]


def dealt(film: Film, replicas: int, *, watch_s: float, least: float, seed: int = 0) -> tuple[list[Said], _Store]:
    """What is said of each segment. least: score from which objects are reported."""
    rng = np.random.default_rng((seed, replicas))
    store = _Store()
    team = [_Replica(store, watch_s, least) for _ in range(replicas)]
    said: list[Said] = []
    quiet_before = False
    for n, (segment, small) in enumerate(zip(film.segments, film.small, strict=True)):
        replica = team[int(rng.integers(replicas))]
        boxes, is_new = replica.judge(segment, list(small))
        whole = full(segment, least)
        if boxes is None:
            if quiet_before and is_new:
                before = film.segments[n - 1]
                said[-1] = said[-1]._replace(settled=full(before, least), later=len(before.frames))
            said.append(Said(whole, whole, len(whole), 0))
        else:
            told = [(offset, boxes[k % len(boxes)]) for k, (offset, _) in enumerate(segment.frames)]
            said.append(Said(told, told, 0, 0))
        quiet_before = boxes is not None
    return said, store
