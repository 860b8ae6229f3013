"""The check of one segment during decoding: it stops early if nothing has changed.

Example:
    check = SceneCheck(scene, watch=False, start=..., duration=1.0)
    decoded = decode(payload, fps=5, probe=check.probe)
    check.match           # the reference that it matches, with nothing else decoded; or None
"""

from __future__ import annotations

from services.cv.static_scene import scene
from services.cv.static_scene.picture import SIZE, Grey
from services.cv.static_scene.scene import Match, Scene
from shared.video.decode import FrameProbe

# Maximum seconds between compared pictures: a quicker visitor passes unseen in between.
CHECK_S = 1.0
# A picture covers the rest of its segment, if that is at most this: the next segment begins with another.
_SHORT_S = 1.5 * CHECK_S


class SceneCheck:
    """The check of one segment. watch: whether a full inference is due anyway. start: Unix seconds.

    pictures: of the decoded frames. differs: whether one of the compared ones matches no reference.
    """

    def __init__(self, known_scene: Scene, *, watch: bool, start: float, duration: float) -> None:
        self.pictures: list[Grey] = []
        self.differs = False
        self.scene = known_scene
        self._watch = watch
        self._start = start
        self._duration = duration
        self._first: Match | None = None
        self._seen_to_end = False
        self._next = 0.0

    @property
    def probe(self) -> FrameProbe:
        return FrameProbe(SIZE, self._enough)

    @property
    def match(self) -> Match | None:
        return None if self.differs or self._watch or not self._seen_to_end else self._first

    def _enough(self, offset: float, grey: Grey) -> bool:
        self.pictures.append(grey)
        if self.differs or offset < self._next:
            return False
        found = scene.find_match(self.scene, grey, self._start)
        self._first = self._first or found
        self.differs = found is None
        # Frames may be slightly early or late.
        self._next = offset + 0.9 * CHECK_S
        self._seen_to_end = self._duration - offset <= _SHORT_S
        return self.match is not None
