"""The check of one segment during decoding: it stops early if nothing has changed.

Example:
    check = SceneCheck(scene, watch=False, start=..., duration=1.0)
    decoded = decode(payload, fps=5, probe=check.probe)
    check.match           # the reference that it matches, with nothing else decoded; or None
"""

from __future__ import annotations

from services.cv.static_scene import scene
from services.cv.static_scene.scene import Match, Scene
from shared.static_scene.picture import SIZE, Grey
from shared.video.decode import FrameProbe

# Default of the maximum seconds between compared pictures: a quicker visitor passes unseen in between.
CHECK_S = 1.0
# By default, a picture covers the rest of its segment, if that is at most this: the next segment begins with another.
_SHORT_S = 1.5 * CHECK_S
# A segment's duration is rounded to milliseconds, its frames' offsets are not.
_ROUNDING_S = 0.01
# Maximum seconds between two pictures that tell drops from a walker: a small one is a block further by then.
MAX_STEP_S = 0.3


class SceneCheck:
    """The check of one segment. watch: whether a full inference is due anyway. start: Unix seconds.

    check_s: below CHECK_S, each wanted frame is compared until at most these seconds are left. pictures: of the decoded
    frames.
    """

    def __init__(
        self, known_scene: Scene, *, watch: bool, start: float, duration: float, check_s: float = CHECK_S
    ) -> None:
        self.pictures: list[Grey] = []
        self.scene = known_scene
        self._watch = watch or known_scene.is_restless
        self._start = start
        self._duration = duration
        self._compares_all = check_s < CHECK_S
        self._rest_s = check_s + _ROUNDING_S if self._compares_all else _SHORT_S
        self._differs = False
        self._first: Match | None = None
        # The match with blocks that differ, until a later picture shows that they were drops.
        self._open: Match | None = None
        self._persists = False
        self._seen_to_end = False
        self._offset = 0.0
        self._next = 0.0

    @property
    def probe(self) -> FrameProbe:
        return FrameProbe(SIZE, self._enough)

    @property
    def differs(self) -> bool:
        """Whether one of the compared pictures matches no reference. Drops in the last one alone are no difference."""
        return self._differs or (self._open is not None and (self._first is None or self._persists))

    @property
    def begins_differently(self) -> bool:
        """Whether the first picture matches no reference, so that the news may be of the previous segment."""
        return self.differs and self._first is None

    @property
    def match(self) -> Match | None:
        if self.differs or self._watch or not self._first or not self._first.is_sure:
            return None
        # Few wanted frames may leave more to the end: a full inference would see no more than them.
        return self._first if self._seen_to_end or self._compares_all else None

    def _enough(self, offset: float, grey: Grey) -> bool:
        self.pictures.append(grey)
        step, self._offset = offset - self._offset, offset
        if not self._differs:
            if self._open:
                self._differs = step > MAX_STEP_S
                odd = scene.persistent(self.scene, self._open.reference, self._open.odd, grey)
                self._open, self._persists = self._open._replace(odd=odd), True
                self._close(offset)
            if not self._open and not self._differs and offset >= self._next:
                self._open = scene.find_match(self.scene, grey, self._start)
                self._differs, self._persists = self._open is None, False
                self._close(offset)
        return self._seen_to_end and self.match is not None

    def _close(self, offset: float) -> None:
        """End a comparison in which nothing differs any more."""
        if self._open and not self._open.odd.any():
            self._first, self._open = self._first or self._open, None
            # Frames may be slightly early or late.
            self._next = offset if self._compares_all else offset + 0.9 * CHECK_S
            self._seen_to_end = self._duration - offset <= self._rest_s
