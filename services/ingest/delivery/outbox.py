"""Buffers cameras' segments while JetStream is away, each camera's within a limit and all within another. Pure.

Over a limit whole GOPs are dropped, the oldest first. The rest of a GOP can't be decoded without its beginning, so
segments of a dropped GOP are refused from then on.

    outboxes = Outboxes(max_bytes=1 << 30)
    outbox = Outbox(outboxes, max_bytes=1 << 25, on_drop=count)
    outbox.put(piece)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from services.ingest.cutting.piece import Piece


class Outboxes:
    """All outboxes of a process. `total_bytes` counts their bytes, those in flight included: at most `max_bytes`.

    Over that the camera with the most bytes loses its oldest GOP, so that none pays for a larger one. A segment in
    flight is never dropped, as it may be stored already: that is one segment a camera.
    """

    def __init__(self, max_bytes: int) -> None:
        self.total_bytes = 0
        self._max_bytes = max_bytes
        self._filled: dict[Outbox, None] = {}

    def record_change(self, outbox: Outbox, more: int) -> None:
        """Record that an outbox has `more` bytes, or fewer."""
        self.total_bytes += more
        if len(outbox):
            self._filled[outbox] = None
        else:
            self._filled.pop(outbox, None)

    def make_room(self) -> None:
        while self.total_bytes > self._max_bytes and self._filled:
            max(self._filled, key=lambda outbox: outbox.total_bytes).drop_oldest("buffers_full")


class Outbox:
    """One camera's, first in, first out: at most `max_bytes` wait in it.

    on_drop: called with the dropped segments and the cause: `buffer_full` if there is no room here, `buffers_full` if
    there is none in all outboxes.
    """

    def __init__(self, outboxes: Outboxes, max_bytes: int, on_drop: Callable[[list[Piece], str], None]) -> None:
        self._outboxes = outboxes
        self._max_bytes = max_bytes
        self._on_drop = on_drop
        self._pieces: deque[Piece] = deque()
        self._in_flight: Piece | None = None
        self._newest: str | None = None
        self._broken: tuple[str, str] | None = None  # GOP and cause
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def total_bytes(self) -> int:
        """Bytes that wait, and those in flight."""
        return self.bytes + (self._in_flight.size if self._in_flight else 0)

    def put(self, piece: Piece) -> None:
        """Buffer `piece`, and drop older ones for it; or drop it, if its GOP was dropped."""
        if self._broken and piece.gop == self._broken[0]:
            self._on_drop([piece], self._broken[1])
            return
        self._newest = piece.gop
        self._pieces.append(piece)
        self._add(piece.size)
        while self.bytes > self._max_bytes:
            self.drop_oldest("buffer_full")
        self._outboxes.make_room()

    def take(self) -> Piece | None:
        """Take the oldest out; None if there is none. It is in flight until the next call."""
        before, self._in_flight = self._in_flight, None
        if before:
            self._outboxes.record_change(self, -before.size)
        if self._pieces:
            self._in_flight = self._pieces.popleft()
            self.bytes -= self._in_flight.size
            self._outboxes.record_change(self, 0)
        return self._in_flight

    def drop_gop(self, gop: str, cause: str) -> None:
        """Drop every waiting segment of `gop`, and refuse later ones.

        `gop` is the oldest here, or no segment of it is here any more.
        """
        if gop == self._newest:
            self._broken = gop, cause
        dropped: list[Piece] = []
        while self._pieces and self._pieces[0].gop == gop:
            dropped.append(self._pieces.popleft())
            self._add(-dropped[-1].size)
        self._on_drop(dropped, cause)

    def keep(self, wanted: Callable[[Piece], bool], cause: str) -> bool:
        """Drop the newest that are not wanted; return whether the segment in flight is."""
        dropped: list[Piece] = []
        while self._pieces and not wanted(self._pieces[-1]):
            dropped.append(self._pieces.pop())
            self._add(-dropped[-1].size)
        self._on_drop(dropped, cause)
        return self._in_flight is None or wanted(self._in_flight)

    def drop_oldest(self, cause: str) -> None:
        self.drop_gop(self._pieces[0].gop, cause)

    def clear(self, cause: str) -> int:
        """Drop everything, the segment in flight included; return how many there were."""
        left = [self._in_flight, *self._pieces] if self._in_flight else list(self._pieces)
        self._pieces.clear()
        self._add(-self.bytes)
        self.take()
        self._on_drop(left, cause)
        return len(left)

    def _add(self, size: int) -> None:
        self.bytes += size
        self._outboxes.record_change(self, size)
