"""The greatest number of the last seconds, kept rather than searched. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

N = TypeVar("N", int, float)


class Peak(Generic[N]):
    """The greatest of the numbers of the last `window` seconds. closed: whether the window's start belongs to it."""

    __slots__ = ("_closed", "_kept", "_window")

    def __init__(self, window: float, *, closed: bool = False) -> None:
        self._window = window
        self._closed = closed
        # The numbers fall: an older one that is smaller can never be the greatest again.
        self._kept: deque[tuple[float, N]] = deque()

    def add(self, now: float, number: N) -> N:
        """The greatest, with `number` among them."""
        kept = self._kept
        start = now - self._window
        while kept and (kept[0][0] < start or (kept[0][0] == start and not self._closed)):
            kept.popleft()
        while kept and kept[-1][1] <= number:
            kept.pop()
        kept.append((now, number))
        return kept[0][1]
