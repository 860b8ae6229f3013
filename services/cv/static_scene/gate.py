"""A replica's knowledge of its cameras' scenes, and its decisions. No I/O, and no clock but the cameras' own.

Example:
    gate = Gate(watch_s=10)
    if gate.must_read(key, start):
        gate.adopt(key, data, start)                              # the scenes of other replicas
    match = scene.find_match(gate.scene(key), picture, start)     # thread-safe
    gate.record_match(key, match)                                 # the segment matches a reference
    gate.learn(key, pictures, start, frames)                      # it was analysed in full
    if gate.may_share(key):
        data = gate.share(key)                                    # to write, after one more `adopt`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.cv.static_scene import entry, scene
from services.cv.static_scene.scene import Match, Scene
from shared.contract.events import DetectedObject
from shared.static_scene import full_inference
from shared.static_scene.picture import Grey

# In seconds of the camera's time.

# Minimum interval between reads of the shared entry, if the local scene is not enough.
READ_INTERVAL_S = 10.0
# The local scene is not enough if its newest reference is older than this.
OLD_S = 90.0
# Minimum interval between writes of a camera's entry, by any replica.
WRITE_INTERVAL_S = 60.0
# Maximum number of scenes in memory, those seen last: each is some 50 kB.
MAX_SCENES = 2000
_NEVER = float("-inf")


class SceneKey(NamedTuple):
    """fingerprint: of all that its references depend on: detector, tiles, labels, scores."""

    camera: str
    fingerprint: str


class _Known(msgspec.Struct):
    """fingerprint: its camera's fingerprint. read_at: the segment of the last read of the shared entry. shared: the
    newest reference in that. sure: whether the last segment matched.
    """

    fingerprint: str
    scene: Scene
    read_at: float = _NEVER
    shared: float = _NEVER
    sure: bool = False


class Gate:
    """One per process. watch_s: the interval of full inferences of a camera, in seconds of its time."""

    def __init__(self, watch_s: float) -> None:
        self._watch_s = watch_s
        self._cameras: dict[str, _Known] = {}

    def is_full_inference_due(self, key: SceneKey, start: float, duration: float) -> bool:
        """Whether a full inference is due in a segment."""
        return full_inference.falls_in(key.camera, start, duration, self._watch_s)

    def must_read(self, key: SceneKey, start: float) -> bool:
        """Whether to read the shared entry before a segment is judged."""
        mine = self._of(key)
        if mine.sure and start - _newest(mine.scene) <= OLD_S:
            return False
        return not abs(start - mine.read_at) < READ_INTERVAL_S

    def adopt(self, key: SceneKey, data: bytes | None, start: float) -> None:
        """Merge the shared entry; None if there is none. Raises BadScene if it can't be used."""
        mine = self._of(key)
        mine.read_at = start
        if data is not None:
            theirs = entry.decode(data, key.fingerprint, start)
            mine.shared = _newest(theirs)
            mine.scene = scene.merge(mine.scene, theirs)

    def scene(self, key: SceneKey) -> Scene:
        """Return its current scene. It is immutable, so threads may compare with it."""
        return self._of(key).scene

    def record_match(self, key: SceneKey, match: Match) -> None:
        """Record a segment published as unchanged."""
        mine = self._of(key)
        mine.sure = True
        mine.scene = scene.record_match(mine.scene, match)

    def learn(self, key: SceneKey, pictures: Sequence[Grey], start: float, frames: list[list[DetectedObject]]) -> bool:
        """Learn from a fully analysed segment; return whether it has news. pictures: of its frames, whose objects
        `frames` has.
        """
        mine = self._of(key)
        before = mine.scene.last
        mine.scene, has_news = scene.learn(mine.scene, pictures, start, frames)
        mine.sure = mine.scene.last is before
        return has_news

    def may_share(self, key: SceneKey) -> bool:
        """Whether there is a scene to share, and it is due. No replica could use a restless one."""
        mine = self._of(key)
        is_useful = bool(mine.scene.references) and not mine.scene.is_restless
        return is_useful and _newest(mine.scene) - mine.shared >= WRITE_INTERVAL_S

    def share(self, key: SceneKey) -> bytes:
        """Return the entry to write in place of the last adopted one."""
        mine = self._of(key)
        mine.shared = _newest(mine.scene)
        return entry.encode(mine.scene, key.fingerprint)

    def _of(self, key: SceneKey) -> _Known:
        mine = self._cameras.pop(key.camera, None)
        if mine is None or mine.fingerprint != key.fingerprint:
            mine = _Known(key.fingerprint, scene.new())
        self._cameras[key.camera] = mine
        if len(self._cameras) > MAX_SCENES:
            del self._cameras[next(iter(self._cameras))]
        return mine


def _newest(scene: Scene) -> float:
    return max((reference.since for reference in scene.references), default=_NEVER)
