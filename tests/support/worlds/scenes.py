"""Pictures of a scene, and a scene that is learned."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from services.cv.static_scene import scene
from services.cv.static_scene.gate import SceneKey
from services.cv.static_scene.scene import Scene
from shared.contract.events import DetectedObject
from shared.static_scene.picture import SHAPE, Grey

LOBBY = SceneKey("lobby", "made")
SOMEBODY = DetectedObject(label="person", score=0.9, box=(0.2, 0.2, 0.3, 0.5))
seeds = st.integers(0, 2**32 - 1)


def ground(seed: int) -> np.ndarray:
    """A scene with patches of several blocks, as in real scenes."""
    rough = np.random.default_rng(seed).uniform(40, 160, (SHAPE[0] // 4, SHAPE[1] // 4))
    return np.kron(rough, np.ones((4, 4)))


def seen(of: np.ndarray, seed: int, level: float = 1.0) -> Grey:
    """A scene through a sensor."""
    noisy = of + np.random.default_rng(seed).normal(0, level, of.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def after(pictures: int, seed: int) -> Scene:
    """The scene after `pictures` full inferences of a still picture."""
    state = scene.new()
    for n in range(pictures):
        state, _ = scene.learn(state, [seen(ground(seed), seed + n)], float(n), [[]])
    return state


def twice(state: Scene) -> Scene:
    """The state after a second sight of its last reference frame, so that it can be shared."""
    if state.last is None:
        return state
    match = scene.Match(state.last, np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool), True)
    return scene.record_match(state, match)
