"""The door of cv: scenes that other replicas have shared."""

from __future__ import annotations

import numpy as np

from services.cv.static_scene import entry, scene
from shared.contract.events import DetectedObject
from shared.static_scene.picture import SHAPE
from tests.fuzz.door import Door

_NOW = 1000.0


def _picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 90, SHAPE).astype(np.uint8)


def _scene() -> scene.Scene:
    somebody = DetectedObject(label="person", score=0.9, box=(0.1, 0.2, 0.3, 0.4))
    state = scene.new()
    for n in range(3):
        state, _ = scene.learn(state, [_picture(1)], _NOW - 9 + n, [[somebody]])
    return state


def _shared(data: bytes) -> None:
    """Handle an entry as a replica does, and then a segment's picture."""
    theirs = entry.decode(data, "made", _NOW)
    both = scene.merge(_scene(), theirs)
    assert len(both.references) <= scene.MAX_REFERENCES
    match = scene.find_match(both, _picture(2), _NOW)
    if match:
        both = scene.record_match(both, match)
    both, _ = scene.learn(both, [_picture(3)], _NOW + 1, [[]])
    assert np.isfinite(both.noise.variance).all()
    assert len(entry.encode(both, "made")) <= entry.MOST_BYTES


DOORS = (Door("cv.scene", lambda: [entry.encode(_scene(), "made")], _shared, (entry.BadScene,)),)
