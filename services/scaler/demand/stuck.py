"""The part of a backlog that does not drain: poison messages, and messages that can't be delivered. Pure.

stuck = StuckBacklog()
stuck.measure(now, backlog=40, arrived=1204, capacity=24.0)     # 40.0 messages, once they have outlasted STUCK_S
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# A backlog is stuck when it has outlasted this time, though there was capacity for it.
STUCK_S = 120.0
# There was capacity for it where the replicas could have done this many times the work that was there and that came.
AMPLE = 1.15
# The backlog is noted this many times in STUCK_S.
MARKS = 12


class _Mark(NamedTuple):
    """What was known at a time. room: messages that the replicas could have worked through until then."""

    time: float
    room: float
    arrived: int
    backlog: float


class StuckBacklog:
    """See the module."""

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()
        self._room = 0.0
        self._last: float | None = None

    def measure(self, now: float, backlog: int, arrived: int, capacity: float) -> float:
        """Messages that are stuck. arrived: ever. capacity: messages a second that the ready replicas can do."""
        if self._last is not None:
            self._room += capacity * (now - self._last)
        self._last = now
        marks = self._marks
        if not marks or now - marks[-1].time >= STUCK_S / MARKS:
            marks.append(_Mark(now, self._room, arrived, float(backlog)))
        while len(marks) > 1 and marks[1].time <= now - STUCK_S:
            marks.popleft()
        first = marks[0]
        if now - first.time < STUCK_S:
            return 0.0
        # There was room for all that was there and all that came since, and yet this much is left.
        if self._room - first.room < AMPLE * (first.backlog + arrived - first.arrived):
            return 0.0
        return min(float(backlog), min(m.backlog for m in marks))
