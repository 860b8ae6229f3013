"""Keeps cameras' segments while JetStream is away, each camera's within a limit and all within another. Pure.

Over a limit whole GOPs are dropped, the oldest first. The rest of a GOP can't be decoded without its beginning, so
segments of a GOP that was dropped are refused from then on.

    outboxes = Outboxes(max_bytes=1 << 30)
    outbox = Outbox(outboxes, max_bytes=1 << 25, dropped=count)
    outbox.put(piece)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Parcel(Protocol):
    """gop: names the GOP that a segment is of. size: its bytes."""

    @property
    def gop(self) -> str: ...
    @property
    def size(self) -> int: ...


P = TypeVar("P", bound=Parcel)


class Outboxes(Generic[P]):
    """All outboxes of a process. `held` is their bytes, what was taken out included, and stays within `max_bytes`.

    Over that the camera that holds most loses its oldest GOP, so that none pays for a larger one. Only what was taken
    out is never dropped, as it may be stored already: that is one segment a camera.
    """

    def __init__(self, max_bytes: int) -> None:
        self.held = 0
        self._max_bytes = max_bytes
        self._filled: dict[Outbox[P], None] = {}

    def changed(self, outbox: Outbox[P], more: int) -> None:
        """Hear from an outbox that it holds so many bytes more, or fewer."""
        self.held += more
        if len(outbox):
            self._filled[outbox] = None
        else:
            self._filled.pop(outbox, None)

    def make_room(self) -> None:
        while self.held > self._max_bytes and self._filled:
            max(self._filled, key=lambda outbox: outbox.held).drop_oldest("buffers_full")


class Outbox(Generic[P]):
    """One camera's, first in, first out: at most `max_bytes` wait in it.

    dropped: called with what is dropped, and why: `buffer_full` where there is no room here, `buffers_full` where there
    is none in all outboxes.
    """

    def __init__(self, outboxes: Outboxes[P], max_bytes: int, dropped: Callable[[list[P], str], None]) -> None:
        self._outboxes = outboxes
        self._max_bytes = max_bytes
        self._dropped = dropped
        self._parcels: deque[P] = deque()
        self._taken: P | None = None
        self._newest: str | None = None
        self._broken: tuple[str, str] | None = None  # GOP and cause
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._parcels)

    @property
    def held(self) -> int:
        """Bytes that wait, and those of what was taken out last."""
        return self.bytes + (self._taken.size if self._taken else 0)

    def put(self, parcel: P) -> None:
        """Keep `parcel`, and drop older ones for it; or drop it, where its GOP was dropped."""
        if self._broken and parcel.gop == self._broken[0]:
            self._dropped([parcel], self._broken[1])
            return
        self._newest = parcel.gop
        self._parcels.append(parcel)
        self._add(parcel.size)
        while self.bytes > self._max_bytes:
            self.drop_oldest("buffer_full")
        self._outboxes.make_room()

    def take(self) -> P | None:
        """Take the oldest out; None if there is none. It is held until this is called again."""
        before, self._taken = self._taken, None
        if before:
            self._outboxes.changed(self, -before.size)
        if self._parcels:
            self._taken = self._parcels.popleft()
            self.bytes -= self._taken.size
            self._outboxes.changed(self, 0)
        return self._taken

    def drop_gop(self, gop: str, cause: str) -> None:
        """Drop all of `gop` that waits, and refuse what comes of it.

        `gop` is the oldest here, or nothing of it is here any more.
        """
        if gop == self._newest:
            self._broken = gop, cause
        dropped: list[P] = []
        while self._parcels and self._parcels[0].gop == gop:
            dropped.append(self._parcels.popleft())
            self._add(-dropped[-1].size)
        self._dropped(dropped, cause)

    def keep(self, wanted: Callable[[P], bool], cause: str) -> bool:
        """Drop the newest that are not wanted; whether what was taken out is."""
        dropped: list[P] = []
        while self._parcels and not wanted(self._parcels[-1]):
            dropped.append(self._parcels.pop())
            self._add(-dropped[-1].size)
        self._dropped(dropped, cause)
        return self._taken is None or wanted(self._taken)

    def drop_oldest(self, cause: str) -> None:
        self.drop_gop(self._parcels[0].gop, cause)

    def clear(self, cause: str) -> int:
        """Drop everything, what was taken out included; how many there were."""
        left = [self._taken, *self._parcels] if self._taken else list(self._parcels)
        self._parcels.clear()
        self._add(-self.bytes)
        self.take()
        self._dropped(left, cause)
        return len(left)

    def _add(self, size: int) -> None:
        self.bytes += size
        self._outboxes.changed(self, size)
