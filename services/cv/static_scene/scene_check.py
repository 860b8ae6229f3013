"""What is seen of one segment as it is decoded: enough of it where nothing has changed, all of it else.

check = SceneCheck(scene, watch=False, start=..., duration=1.0)
decoded = decode(payload, fps=5, probe=check.probe)
check.match           # the look that it equals, with nothing else decoded; or None
"""

from __future__ import annotations

from services.cv.static_scene import scene
from services.cv.static_scene.picture import SIZE, Grey
from services.cv.static_scene.scene import Match, Scene
from shared.video.decode import FrameProbe

# Two pictures that are compared are this far apart at most, seconds: who is quicker passes unseen in between.
CHECK_S = 1.0
# A picture stands for what follows it up to the end of its segment, if that is no more than this: the next segment
# begins with another.
_SHORT_S = 1.5 * CHECK_S


class SceneCheck:
    """Of one segment. watch: whether it is to be looked at in full, whatever is in it. start: Unix seconds.

    pictures: of the frames that were decoded. differs: whether one of those that were compared equals no look.
    """

    def __init__(self, known: Scene, *, watch: bool, start: float, duration: float) -> None:
        self.pictures: list[Grey] = []
        self.differs = False
        self.scene = known
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
        found = scene.known(self.scene, grey, self._start)
        self._first = self._first or found
        self.differs = found is None
        # Frames come a little early or late.
        self._next = offset + 0.9 * CHECK_S
        self._seen_to_end = self._duration - offset <= _SHORT_S
        return self.match is not None
