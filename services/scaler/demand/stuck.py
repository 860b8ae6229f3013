"""The part of a backlog that does not drain: poison messages, and messages that can't be delivered. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# The values were chosen by hand.

# A backlog is stuck if it outlasts this time despite sufficient capacity.
STUCK_S = 120.0
# Capacity is sufficient at this many times the initial backlog and the arrivals.
AMPLE_RATIO = 1.15
# The backlog is recorded this many times in STUCK_S.
MARKS = 12


class _Mark(NamedTuple):
    """The state at a time. room: cumulative capacity of the replicas, in messages."""

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
        """Return the stuck messages. arrived: cumulative. capacity: messages a second of the ready replicas."""
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
        # If capacity sufficed for the initial backlog and all arrivals since, the remainder is stuck.
        if self._room - first.room < AMPLE_RATIO * (first.backlog + arrived - first.arrived):
            return 0.0
        return min(float(backlog), min(m.backlog for m in marks))
