"""The maximum over the last seconds, maintained incrementally. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

N = TypeVar("N", int, float)


class Peak(Generic[N]):
    """The maximum over the last `window` seconds. closed: whether the window includes its start."""

    __slots__ = ("_candidates", "_closed", "_window")

    def __init__(self, window: float, *, closed: bool = False) -> None:
        self._window = window
        self._closed = closed
        # The numbers decrease: an older, smaller number can never be the maximum again.
        self._candidates: deque[tuple[float, N]] = deque()

    def add(self, now: float, number: N) -> N:
        """Add `number`, and return the maximum."""
        candidates = self._candidates
        start = now - self._window
        while candidates and (candidates[0][0] < start or (candidates[0][0] == start and not self._closed)):
            candidates.popleft()
        while candidates and candidates[-1][1] <= number:
            candidates.pop()
        candidates.append((now, number))
        return candidates[0][1]
