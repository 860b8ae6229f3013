"""The gate with several replicas, on cached results: the segments that get inference, and the events of all.

Each segment goes to a random replica, like JetStream's deliveries. A replica knows a segment's result after a delay;
others can read what it shares after another delay, in a store that stands for the bucket `scenes`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.static_scene.films import AnalysedSegment, Film
from services.cv.static_scene.entry import BadScene
from services.cv.static_scene.gate import Gate, SceneKey
from services.cv.static_scene.scene import learn
from services.cv.static_scene.scene_check import CHECK_S, SceneCheck
from shared.contract.events import DetectedObject
from shared.static_scene.picture import Grey

Frames = list[tuple[float, list[DetectedObject]]]

# Delay from a segment to its result, and from a write to the store until others can read it. Seconds.
_RESULT_S, _STORE_S = 2.0, 0.5
_CAMERA = SceneKey("bench", "ssd")


class SegmentResult(NamedTuple):
    """The result of one segment.

    live: the frames of its event. revised: those of its revision, or the same. images: live inferences. backfilled:
    inferences of a backfill.
    """

    live: Frames
    revised: Frames
    images: int
    backfilled: int


class _Store:
    """The bucket: each entry with the time from which it can be read. refused: number of unusable reads."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, bytes]] = []
        self.writes: list[float] = []
        self.bytes = 0
        self.refused = 0

    def read(self, now: float) -> bytes | None:
        return next((data for at, data in reversed(self._entries) if at <= now), None)

    def write(self, now: float, data: bytes) -> None:
        self._entries.append((now + _STORE_S, data))
        self._entries = self._entries[-50:]
        self.writes.append(now)
        self.bytes = max(self.bytes, len(data))


class _Replica:
    def __init__(self, store: _Store, watch_s: float, min_score: float, check_s: float) -> None:
        self.gate = Gate(watch_s)
        self._check_s = check_s
        self._store = store
        self._least = min_score
        self._results: list[tuple[float, AnalysedSegment, list[Grey]]] = []

    def judge(self, segment: AnalysedSegment, small: list[Grey]) -> tuple[list[list[DetectedObject]] | None, bool]:
        """Return (the boxes of the matching reference, or None for full inference; whether the scene is new)."""
        now, gate = segment.seconds, self.gate
        self.learn(now)
        if gate.must_read(_CAMERA, now):
            self._adopt(now)
        watch = gate.is_full_inference_due(_CAMERA, now, segment.duration)
        check = SceneCheck(
            gate.scene(_CAMERA), watch=watch, start=now, duration=segment.duration, check_s=self._check_s
        )
        for (offset, _), picture in zip(segment.frames, small, strict=True):
            if check.probe.enough(offset, picture):
                break
        if check.match is None:
            self._results.append((now + _RESULT_S, segment, small))
            frames = [above(objects, self._least) for _, objects in segment.frames]
            return None, check.begins_differently and learn(gate.scene(_CAMERA), small, now, frames)[1]
        gate.record_match(_CAMERA, check.match)
        return check.match.reference.frames, False

    def learn(self, now: float) -> None:
        ready = [result for result in self._results if result[0] <= now]
        self._results = [result for result in self._results if result[0] > now]
        for _, segment, pictures in ready:
            frames = [above(objects, self._least) for _, objects in segment.frames]
            self.gate.learn(_CAMERA, pictures, segment.seconds, frames)
        if ready and self.gate.may_share(_CAMERA):
            self._adopt(now)
            if self.gate.may_share(_CAMERA):
                self._store.write(now, self.gate.share(_CAMERA))

    def _adopt(self, now: float) -> None:
        try:
            self.gate.adopt(_CAMERA, self._store.read(now), now)
        except BadScene:
            self._store.refused += 1


def above(objects: list[DetectedObject], min_score: float) -> list[DetectedObject]:
    return [o for o in objects if o.score >= min_score]


def full(segment: AnalysedSegment, min_score: float) -> Frames:
    return [(offset, above(objects, min_score)) for offset, objects in segment.frames]


def run_gate(
    film: Film, replicas: int, *, watch_s: float, min_score: float, seed: int = 0, check_s: float = CHECK_S
) -> tuple[list[SegmentResult], _Store]:
    """Return the result of each segment. min_score: of reported objects. check_s: as CV_STATIC_SCENE_CHECK_S."""
    rng = np.random.default_rng((seed, replicas))
    store = _Store()
    team = [_Replica(store, watch_s, min_score, check_s) for _ in range(replicas)]
    results: list[SegmentResult] = []
    was_static = False
    for n, (segment, small) in enumerate(zip(film.segments, film.small, strict=True)):
        replica = team[int(rng.integers(replicas))]
        boxes, is_new = replica.judge(segment, list(small))
        whole = full(segment, min_score)
        if boxes is None:
            if was_static and is_new:
                before = film.segments[n - 1]
                results[-1] = results[-1]._replace(revised=full(before, min_score), backfilled=len(before.frames))
            results.append(SegmentResult(whole, whole, len(whole), 0))
        else:
            reused = [(offset, boxes[k % len(boxes)]) for k, (offset, _) in enumerate(segment.frames)]
            results.append(SegmentResult(reused, reused, 0, 0))
        was_static = boxes is not None
    return results, store
