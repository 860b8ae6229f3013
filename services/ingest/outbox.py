"""What one camera keeps while JetStream is away. Pure.

Over its limit it drops whole GOPs, oldest first: without its beginning the rest of a GOP is undecodable, so segments
of a GOP that lost one are refused too.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar


class Parcel(Protocol):
    """gop: which GOP the segment needs, the same for all of one. size: bytes."""

    @property
    def gop(self) -> str: ...
    @property
    def size(self) -> int: ...


P = TypeVar("P", bound=Parcel)


class Outbox(Generic[P]):
    """First in, first out, of at most `max_bytes`. What `take` has handed out no longer counts."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parcels: deque[P] = deque()
        self._newest: str | None = None
        self._broken: str | None = None
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, parcel: P) -> list[P]:
        """Keep `parcel`; return what was dropped for it, itself included if it is of no use any more."""
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
        """The oldest, which leaves."""
        if not self._parcels:
            return None
        parcel = self._parcels.popleft()
        self.bytes -= parcel.size
        return parcel

    def drop_gop(self, gop: str) -> list[P]:
        """Drop and refuse all of `gop`, which must be the oldest here or gone already; return what was dropped."""
        if gop == self._newest:
            self._broken = gop
        dropped: list[P] = []
        while self._parcels and self._parcels[0].gop == gop:
            parcel = self._parcels.popleft()
            self.bytes -= parcel.size
            dropped.append(parcel)
        return dropped

    def clear(self) -> list[P]:
        """Drop all."""
        dropped = list(self._parcels)
        self._parcels.clear()
        self.bytes = 0
        return dropped
