"""Keeps one camera's segments while JetStream is away. Pure.

Over its limit it drops whole GOPs, the oldest first. The rest of a GOP can't be decoded without its beginning, so
segments of a GOP that was dropped are refused from then on.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar


class Parcel(Protocol):
    """gop: names the GOP that a segment is of. size: its bytes."""

    @property
    def gop(self) -> str: ...
    @property
    def size(self) -> int: ...


P = TypeVar("P", bound=Parcel)


class Outbox(Generic[P]):
    """First in, first out, of at most `max_bytes`. What was taken out no longer counts."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parcels: deque[P] = deque()
        self._newest: str | None = None
        self._broken: str | None = None
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, parcel: P) -> list[P]:
        """Keep `parcel`. Returns what was dropped: older ones for lack of room, or itself where its GOP was dropped."""
        if parcel.gop == self._broken:
            return [parcel]
        self._newest = parcel.gop
        self._parcels.append(parcel)
        self.bytes += parcel.size
        dropped: list[P] = []
        while self.bytes > self._max_bytes:
            dropped += self.drop_gop(self._parcels[0].gop)
        return dropped

    def take(self) -> P | None:
        """Take the oldest out; None if there is none."""
        if not self._parcels:
            return None
        parcel = self._parcels.popleft()
        self.bytes -= parcel.size
        return parcel

    def drop_gop(self, gop: str) -> list[P]:
        """Drop all of `gop`, and refuse what comes of it. Returns what was dropped.

        `gop` is the oldest here, or nothing of it is here any more.
        """
        if gop == self._newest:
            self._broken = gop
        dropped: list[P] = []
        while self._parcels and self._parcels[0].gop == gop:
            parcel = self._parcels.popleft()
            self.bytes -= parcel.size
            dropped.append(parcel)
        return dropped

    def clear(self) -> list[P]:
        """Drop everything. Returns what was dropped."""
        dropped = list(self._parcels)
        self._parcels.clear()
        self.bytes = 0
        return dropped
