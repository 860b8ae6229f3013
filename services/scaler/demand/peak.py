"""The greatest number of the last seconds, kept rather than searched. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

N = TypeVar("N", int, float)


class Peak(Generic[N]):
    """The greatest of the numbers of the last `window` seconds. closed: whether the window's start belongs to it."""

    __slots__ = ("_candidates", "_closed", "_window")

    def __init__(self, window: float, *, closed: bool = False) -> None:
        self._window = window
        self._closed = closed
        # The numbers fall: an older one that is smaller can never be the greatest again.
        self._candidates: deque[tuple[float, N]] = deque()

    def add(self, now: float, number: N) -> N:
        """The greatest, with `number` among them."""
        candidates = self._candidates
        start = now - self._window
        while candidates and (candidates[0][0] < start or (candidates[0][0] == start and not self._closed)):
            candidates.popleft()
        while candidates and candidates[-1][1] <= number:
            candidates.pop()
        candidates.append((now, number))
        return candidates[0][1]
