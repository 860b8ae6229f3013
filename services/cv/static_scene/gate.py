"""What a replica knows of its cameras' scenes, and what it decides by that. No I/O, and no clock but the cameras' own.

gate = Gate(watch_s=10)
if gate.asks(camera, start): gate.adopt(camera, data, start)       # what others have shared
match = scene.known(gate.scene(camera), picture, start)            # a thread may do this
gate.noted(camera, match)                                          # the segment equals a look
gate.learned(camera, pictures, start, frames)                      # it was looked at in full
if gate.offers(camera): data = gate.offer(camera)                  # to be shared, after one more `adopt`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.cv.static_scene import entry, full_inference, scene
from services.cv.static_scene.picture import Grey
from services.cv.static_scene.scene import Match, Scene
from shared.contract.events import DetectedObject


class GateTuning(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds of the camera's time."""

    ask_s: float = 10.0
    """What others have shared is read this often at most, where what is known here is not enough."""

    old_s: float = 90.0
    """What is known here is not enough where its newest look is older than this."""

    share_s: float = 60.0
    """A camera's entry is written this often at most, whoever writes it."""

    cameras: int = 2000
    """So many cameras' scenes are kept, those that were seen last: each is some 50 kB."""


TUNING = GateTuning()
_NEVER = float("-inf")


class Camera(NamedTuple):
    """id: its own. made: what its looks depend on besides the picture: detector, tiles, labels, scores."""

    id: str
    made: str


class _Known(msgspec.Struct):
    """asked: for which segment the shared entry was last read. shared: the newest look that it has. sure: whether the
    last segment was one that is known."""

    made: str
    scene: Scene
    asked: float = _NEVER
    shared: float = _NEVER
    sure: bool = False


class Gate:
    """One for the process. watch_s: how often a camera is looked at in full, in seconds of its time."""

    def __init__(self, watch_s: float) -> None:
        self._watch_s = watch_s
        self._cameras: dict[str, _Known] = {}

    def watches(self, camera: Camera, start: float, duration: float) -> bool:
        """Whether a full look falls in a segment."""
        return full_inference.falls_in(camera.id, start, duration, self._watch_s)

    def asks(self, camera: Camera, start: float) -> bool:
        """Whether what others have shared is to be read before a segment is judged."""
        mine = self._of(camera)
        if mine.sure and start - _newest(mine.scene) <= TUNING.old_s:
            return False
        return not abs(start - mine.asked) < TUNING.ask_s

    def adopt(self, camera: Camera, data: bytes | None, start: float) -> None:
        """What others have shared; None where there is nothing. Raises BadScene for what can't be used."""
        mine = self._of(camera)
        mine.asked = start
        if data is not None:
            theirs = entry.decode(data, camera.made, start)
            mine.shared = _newest(theirs)
            mine.scene = scene.merged(mine.scene, theirs)

    def scene(self, camera: Camera) -> Scene:
        """What is known of it now. It does not change, so that threads may compare with it."""
        return self._of(camera).scene

    def noted(self, camera: Camera, match: Match) -> None:
        """A segment was said to be unchanged."""
        mine = self._of(camera)
        mine.sure = True
        mine.scene = scene.noted(mine.scene, match)

    def learned(
        self, camera: Camera, pictures: Sequence[Grey], start: float, frames: list[list[DetectedObject]]
    ) -> bool:
        """A segment was looked at in full; whether that brought news. pictures: of its frames, whose objects
        `frames` has.
        """
        mine = self._of(camera)
        before = mine.scene.last
        mine.scene, has_news = scene.learned(mine.scene, pictures, start, frames)
        mine.sure = mine.scene.last is before
        return has_news

    def offers(self, camera: Camera) -> bool:
        """Whether there is something to share, and it is time to."""
        mine = self._of(camera)
        return bool(mine.scene.looks) and _newest(mine.scene) - mine.shared >= TUNING.share_s

    def offer(self, camera: Camera) -> bytes:
        """What is to be written in place of what was adopted last."""
        mine = self._of(camera)
        mine.shared = _newest(mine.scene)
        return entry.encode(mine.scene, camera.made)

    def _of(self, camera: Camera) -> _Known:
        mine = self._cameras.pop(camera.id, None)
        if mine is None or mine.made != camera.made:
            mine = _Known(camera.made, scene.new())
        self._cameras[camera.id] = mine
        if len(self._cameras) > TUNING.cameras:
            del self._cameras[next(iter(self._cameras))]
        return mine


def _newest(known: Scene) -> float:
    return max((look.since for look in known.looks), default=_NEVER)
