"""Finds the earlier segment to decode from, for a segment that begins at a recovery point. Pure.

Decoding may begin at a recovery point, but pictures are correct only some frames later. So such a segment is decoded
from an earlier one, whose pictures are correct by the time that this one begins.

    points = RecoveryPoints()
    points.begin("cam/e1/0", 0)             # a keyframe: nothing before it is needed
    points.follow(25)                       # frames
    points.begin("cam/e1/1", 20)            # "cam/e1/0"
"""

from __future__ import annotations

from typing import NamedTuple

# Recovery points that are remembered: a second of them, were every frame one.
_MOST = 64


class _Point(NamedTuple):
    """id: of the segment that begins there. at: its frame. right_at: the first correct frame when decoding from it."""

    id: str
    at: int
    right_at: int


class RecoveryPoints:
    """The recovery points of one epoch."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._frames = 0

    def begin(self, id: str, recovery: int) -> str:
        """Return the id of the segment to decode from; empty: from this one. recovery: 0 for a keyframe."""
        if not recovery:
            self._points.clear()
        right = [point for point in self._points if point.right_at <= self._frames]
        # If no point is correct yet, the oldest is the best.
        base = right[-1] if right else self._points[0] if self._points else None
        self._points = [point for point in self._points if base and point.at >= base.at][-_MOST:]
        self._points.append(_Point(id, self._frames, self._frames + recovery))
        return base.id if base else ""

    def follow(self, frames: int) -> None:
        """Count frames that have followed."""
        self._frames += frames
