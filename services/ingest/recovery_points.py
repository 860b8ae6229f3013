"""Says from which earlier segment one is decoded that begins at a recovery point. Pure.

Decoding may begin at a recovery point, but pictures are right only some frames later. So such a segment is decoded from
an earlier one, whose pictures are right by the time that this one begins.

    points = RecoveryPoints()
    points.begin("cam/e1/0", 0)             # a keyframe: what comes before it is not needed
    points.follow(25)                       # frames
    points.begin("cam/e1/1", 20)            # "cam/e1/0"
"""

from __future__ import annotations

from typing import NamedTuple

# Recovery points that are remembered: a second of them, were every frame one.
_MOST = 64


class _Point(NamedTuple):
    """id: of the segment that begins there. at: its frame. right_at: the first that is right when begun there."""

    id: str
    at: int
    right_at: int


class RecoveryPoints:
    """Of one epoch."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._frames = 0

    def begin(self, id: str, recovery: int) -> str:
        """The segment to decode from; empty: from this one. recovery: 0 for a keyframe."""
        if not recovery:
            self._points.clear()
        right = [point for point in self._points if point.right_at <= self._frames]
        # Without any that is right the oldest is the best.
        base = right[-1] if right else self._points[0] if self._points else None
        self._points = [point for point in self._points if base and point.at >= base.at][-_MOST:]
        self._points.append(_Point(id, self._frames, self._frames + recovery))
        return base.id if base else ""

    def follow(self, frames: int) -> None:
        """So many frames have come since."""
        self._frames += frames
