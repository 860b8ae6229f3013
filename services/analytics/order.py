"""A camera's segments put back in order. Pure.

    order = Order(reorder_s=15)
    for item in order.push("k3f9", 17, seq=1234, at=now, item=event): ...     # what is in order now, oldest first
    order.deadline()                                                          # when to call `due`, or None
    for item in order.due(at=now): ...                                        # no longer waiting for what is missing

An epoch is one connection of ingest to the camera, and counts its segments from 0. A segment that is missing is waited
for until `reorder_s` after the first one behind it came. Then it is a gap, and late if it comes after all. An epoch
ends when another epoch's segments have waited that long, unless it went on beyond them in MEDIA: then they are late,
being what an ingest had of before and stored now. One that has ended goes on in the same way. Where too many wait, none
is waited for any longer. The caller gives the time, so that the same calls give the same order.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

# This many epochs that are over, and gaps of the current one, are remembered, so that a late segment is known as such.
REMEMBERED = 8
# At most this many segments of a camera wait: a minute of the shortest ones. Who says more of a camera at once than
# that makes up what is to come, and each of them would be looked at with each that comes.
MOST_HELD, MOST_EPOCHS = 600, 32
# Video is filmed before it comes. Where it says otherwise by more than this, in seconds, its clock is not gone by: what
# begins a century ahead would have all that follows taken for older.
AHEAD_S = 60.0
# No segment is shorter, in seconds: a frame of 60 a second.
SHORTEST_S = 1 / 60


class OrderProgress(msgspec.Struct):
    """How far a camera's segments have been taken: all that must survive a restart.

    epoch: the current one. next: number of the segment of it that is expected. begun, newest: sequences in MEDIA of its
    first segment, and of the newest that has come. reached: when the last segment that was taken began, Unix seconds.
    past: the epochs before, the last one last. left: the number that was expected next of each of these. skipped: the
    last gaps of the current epoch, as [first number, number after the last).
    """

    epoch: str | None = None
    next: int = 0
    begun: int = 0
    newest: int = 0
    reached: float = 0.0
    past: list[str] = []
    left: dict[str, int] = {}
    skipped: list[tuple[int, int]] = []


class _Held(NamedTuple, Generic[T]):
    """A segment that waits. seq: in MEDIA. start: of its video, Unix seconds. at: when it came (caller's clock)."""

    seq: int
    start: float
    at: float
    item: T


class Order(Generic[T]):
    """See the module. late, repeated, gaps: how many segments came too late, came again, or did not come."""

    def __init__(self, reorder_s: float, place: OrderProgress | None = None) -> None:
        self.place = place or OrderProgress()
        # A place of before this was remembered has none.
        self.place.newest = max(self.place.newest, self.place.begun)
        self.late = self.repeated = self.gaps = 0
        self._reorder_s = reorder_s
        self._held: dict[str, dict[int, _Held[T]]] = {}

    def held(self) -> list[T]:
        """The segments that wait for a missing one."""
        return [h.item for epoch in self._held.values() for h in epoch.values()]

    def push(
        self, epoch: str, n: int, *, seq: int, at: float, item: T, start: float = 0.0, again: bool = False
    ) -> list[T]:
        """Take a segment; return those that are in order now. again: it was held at this place."""
        place = self.place
        than = place.newest if epoch in place.past else place.begun
        older = not again and epoch != place.epoch and self._is_older(seq, start, than)
        over = older or n < place.left.get(epoch, n)
        start = min(start, at + AHEAD_S)
        if epoch == place.epoch and not again and self._is_too_far(n, start):
            self.late += 1
            return []
        if over or (epoch == place.epoch and n < place.next):
            if over or any(first <= n < after for first, after in place.skipped):
                self.late += 1
            else:
                self.repeated += 1
            return []
        waiting = self._held.setdefault(epoch, {})
        if n in waiting:
            self.repeated += 1
            return []
        waiting[n] = _Held(seq, start, at, item)
        if epoch == place.epoch and seq > place.newest:
            place.newest = seq
            self._drop_older()
        # Where another epoch's segments wait already, it is not known yet which of the two is first.
        if place.epoch is None and n == 0 and len(self._held) == 1:
            self._begin(epoch, 0)
        ready = self._ready()
        while len(self._held) > MOST_EPOCHS or sum(map(len, self._held.values())) > MOST_HELD:
            ready += self._give_up()
        return ready

    def deadline(self) -> float | None:
        """When what is missing has been waited for long enough, by the caller's clock; None if nothing is missing."""
        if not self._held:
            return None
        held = self._current() or {n: h for epoch in self._held.values() for n, h in epoch.items()}
        # Only the current epoch counts, while any of it waits: the next one's turn comes after it.
        return min(h.at for h in held.values()) + self._reorder_s

    def due(self, at: float) -> list[T]:
        """Give up what has been missing for too long; return what is in order then."""
        ready: list[T] = []
        while (deadline := self.deadline()) is not None and deadline <= at:
            ready += self._give_up()
        return ready

    def give_up_all(self) -> list[T]:
        """Wait for nothing that is missing; return all that waits, in order."""
        ready: list[T] = []
        while self._held:
            ready += self._give_up()
        return ready

    def _is_too_far(self, n: int, start: float) -> bool:
        """Whether there was no time for all the segments before one: if it were taken, all of these would be late."""
        if not self.place.reached:
            return False
        return n - self.place.next > MOST_HELD + max(0.0, start - self.place.reached) / SHORTEST_S

    def _is_older(self, seq: int, start: float, than: int) -> bool:
        """Whether a segment of another epoch was stored before one of the current epoch.

        Its video's time counts too: a MEDIA that was made anew counts from 1 again. Clocks may step back a little.
        """
        return self.place.epoch is not None and seq < than and start <= self.place.reached + self._reorder_s

    def _drop_older(self) -> None:
        """The current epoch goes on: what is older of those before it comes too late, whatever the clocks."""
        for epoch in [e for e in self._held if e in self.place.past]:
            waiting = self._held[epoch]
            for n in [n for n, h in waiting.items() if h.seq < self.place.newest]:
                del waiting[n]
                self.late += 1
            if not waiting:
                del self._held[epoch]

    def _give_up(self) -> list[T]:
        """Wait no longer for what is missing first; return what is in order then."""
        place = self.place
        waiting = self._current()
        if not waiting:
            # Next is the epoch whose video was stored first.
            epoch = min(self._held, key=lambda e: min(h.seq for h in self._held[e].values()))
            waiting = self._held[epoch]
            if all(self._is_older(h.seq, h.start, place.newest) for h in waiting.values()):
                self.late += len(self._held.pop(epoch))
                return []
            self._begin(epoch, min(waiting))
        first = min(waiting)
        if first > place.next:
            self.gaps += first - place.next
            place.skipped = [*place.skipped[1 - REMEMBERED :], (place.next, first)]
            place.next = first
        return self._ready()

    def _begin(self, epoch: str, n: int) -> None:
        place = self.place
        place.skipped = []
        if place.epoch is None:
            # What was before the first segment that we see is no gap.
            place.next = n
            if n > 0:
                place.skipped = [(0, n)]
        else:
            place.past = [*[e for e in place.past if e != epoch][1 - REMEMBERED :], place.epoch]
            goes_on_at = place.left.get(epoch, min(0, n))
            place.left = {e: place.left[e] for e in place.past if e in place.left} | {place.epoch: place.next}
            place.next = goes_on_at
        place.epoch = epoch
        stored = [h.seq for h in self._held[epoch].values()]
        place.begun, place.newest = min(stored), max(stored)

    def _current(self) -> dict[int, _Held[T]] | None:
        """The current epoch's segments that wait, by number."""
        return None if self.place.epoch is None else self._held.get(self.place.epoch)

    def _ready(self) -> list[T]:
        place = self.place
        waiting = self._current()
        ready = []
        while waiting and place.next in waiting:
            taken = waiting.pop(place.next)
            ready.append(taken.item)
            place.reached = taken.start
            place.next += 1
        if waiting is not None and not waiting and place.epoch is not None:
            del self._held[place.epoch]
        return ready
