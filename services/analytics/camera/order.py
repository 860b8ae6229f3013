"""A camera's segments put back in order. Pure.

    order = Order(reorder_s=15)
    for item in order.push("k3f9", 17, seq=1234, at=now, item=event): ...     # what is in order now, oldest first
    order.deadline()                                                          # when to call `due`, or None
    for item in order.due(at=now): ...                                        # no longer waiting for what is missing

An epoch is one connection of ingest to the camera, and counts its segments from 0. Order waits for a missing segment
until `reorder_s` after the first one behind it came. Then it is a gap, and late if it comes after all.

An epoch ends when another epoch's segments have waited that long, unless it went on beyond them in MEDIA. In that case
they are late: an ingest had them from before and stored them now. An ended epoch resumes in the same way. If too many
segments wait, waiting ends. The caller gives the time, so that the same calls give the same order.
"""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

# This many ended epochs, and gaps of the current one, are remembered, to recognise late segments.
REMEMBERED = 8
# At most this many segments of a camera wait: a minute of the shortest ones. A publisher that exceeds it forges
# segments, and each new segment would be checked against all of them.
MOST_WAITING, MOST_EPOCHS = 600, 32
# Video is filmed before it comes. A clock further ahead than this, in seconds, is ignored. Otherwise a start a century
# ahead would make all that follows look older.
AHEAD_S = 60.0
# No segment is shorter, in seconds: one frame at 60 a second.
SHORTEST_S = 1 / 60


class OrderProgress(msgspec.Struct):
    """How far a camera's segments have been processed: all that must survive a restart.

    epoch: the current one. next: number of its next expected segment. first_seq, newest: sequences in MEDIA of its
    first segment, and of the newest that has come. reached: start of the last processed segment, Unix seconds. past:
    the epochs before, the last one last. past_next: the next expected number of each of these. skipped: the last gaps
    of the current epoch, as [first number, number after the last).
    """

    epoch: str | None = None
    next: int = 0
    first_seq: int = msgspec.field(default=0, name="begun")
    newest: int = 0
    reached: float = 0.0
    past: list[str] = []
    past_next: dict[str, int] = msgspec.field(default_factory=dict, name="left")
    skipped: list[tuple[int, int]] = []


class _WaitingSegment(NamedTuple, Generic[T]):
    """A segment that waits. seq: in MEDIA. start: of its video, Unix seconds. at: when it came (caller's clock)."""

    seq: int
    start: float
    at: float
    item: T


class Order(Generic[T]):
    """See the module. late, repeated, gaps: number of segments that came too late, came again, or did not come."""

    def __init__(self, reorder_s: float, place: OrderProgress | None = None) -> None:
        self.place = place or OrderProgress()
        # State from versions without `newest` has none.
        self.place.newest = max(self.place.newest, self.place.first_seq)
        self.late = self.repeated = self.gaps = 0
        self._reorder_s = reorder_s
        self._waiting: dict[str, dict[int, _WaitingSegment[T]]] = {}

    def waiting(self) -> list[T]:
        """Return the segments that wait for a missing one."""
        return [h.item for epoch in self._waiting.values() for h in epoch.values()]

    def push(
        self, epoch: str, n: int, *, seq: int, at: float, item: T, start: float = 0.0, is_reread: bool = False
    ) -> list[T]:
        """Take a segment; return those that are in order now. is_reread: it waited at this place before a restart."""
        segment = _WaitingSegment(seq, start, at, item)
        match self._verdict(epoch, n, segment, is_reread=is_reread):
            case "late":
                self.late += 1
                return []
            case "repeated":
                self.repeated += 1
                return []
        self._store(epoch, n, segment._replace(start=min(start, at + AHEAD_S)))
        ready = self._ready()
        while len(self._waiting) > MOST_EPOCHS or sum(map(len, self._waiting.values())) > MOST_WAITING:
            ready += self._give_up()
        return ready

    def deadline(self) -> float | None:
        """Return when waiting for the missing segment ends, by the caller's clock; None if nothing is missing."""
        if not self._waiting:
            return None
        segments = self._current() or {n: h for epoch in self._waiting.values() for n, h in epoch.items()}
        # Only the current epoch counts, while any of it waits: the next one's turn comes after it.
        return min(h.at for h in segments.values()) + self._reorder_s

    def due(self, at: float) -> list[T]:
        """Give up what has been missing for too long; return what is in order then."""
        ready: list[T] = []
        while (deadline := self.deadline()) is not None and deadline <= at:
            ready += self._give_up()
        return ready

    def give_up_all(self) -> list[T]:
        """Give up all missing segments; return all that wait, in order."""
        ready: list[T] = []
        while self._waiting:
            ready += self._give_up()
        return ready

    def _verdict(
        self, epoch: str, n: int, segment: _WaitingSegment[T], *, is_reread: bool
    ) -> Literal["take", "late", "repeated"]:
        """Return what to do with a segment that has come. The place does not change."""
        place = self.place
        if epoch == place.epoch:
            if not is_reread and self._is_too_far(n, min(segment.start, segment.at + AHEAD_S)):
                return "late"
            # All before `next` were processed or given up; `skipped` has those given up.
            if n < place.next:
                return "late" if any(first <= n < after for first, after in place.skipped) else "repeated"
        else:
            # A past epoch resumes only beyond all that the current one has stored (`newest`). An unknown one may have
            # begun before the current one, so it is compared with the current one's first segment (`first_seq`).
            reference = place.newest if epoch in place.past else place.first_seq
            if not is_reread and self._is_older(segment.seq, segment.start, reference):
                return "late"
            # A past epoch resumes where it ended (`past_next`): what is before has been processed or given up.
            if n < place.past_next.get(epoch, n):
                return "late"
        return "repeated" if n in self._waiting.get(epoch, {}) else "take"

    def _store(self, epoch: str, n: int, segment: _WaitingSegment[T]) -> None:
        """Let a segment wait, and begin or continue its epoch."""
        place = self.place
        self._waiting.setdefault(epoch, {})[n] = segment
        if epoch == place.epoch and segment.seq > place.newest:
            place.newest = segment.seq
            self._drop_older()
        # If another epoch's segments wait already, it is not known yet which of the two is first.
        if place.epoch is None and n == 0 and len(self._waiting) == 1:
            self._begin(epoch, 0)

    def _is_too_far(self, n: int, start: float) -> bool:
        """Whether there was no time for all the segments before this one: if it were accepted, all of these would be
        late.
        """
        if not self.place.reached:
            return False
        return n - self.place.next > MOST_WAITING + max(0.0, start - self.place.reached) / SHORTEST_S

    def _is_older(self, seq: int, start: float, reference: int) -> bool:
        """Whether a segment of another epoch was stored before one of the current epoch.

        Its video's time counts too: a recreated MEDIA counts from 1 again. Clocks may step back a little.
        """
        return self.place.epoch is not None and seq < reference and start <= self.place.reached + self._reorder_s

    def _drop_older(self) -> None:
        """Drop older segments of past epochs: the current epoch goes on, so they are late, whatever the clocks."""
        for epoch in [e for e in self._waiting if e in self.place.past]:
            waiting = self._waiting[epoch]
            for n in [n for n, h in waiting.items() if h.seq < self.place.newest]:
                del waiting[n]
                self.late += 1
            if not waiting:
                del self._waiting[epoch]

    def _give_up(self) -> list[T]:
        """Give up the first missing segment; return what is in order then."""
        place = self.place
        waiting = self._current()
        if not waiting:
            # Next is the epoch whose video was stored first.
            epoch = min(self._waiting, key=lambda e: min(h.seq for h in self._waiting[e].values()))
            waiting = self._waiting[epoch]
            if all(self._is_older(h.seq, h.start, place.newest) for h in waiting.values()):
                self.late += len(self._waiting.pop(epoch))
                return []
            self._begin(epoch, min(waiting))
        first = min(waiting)
        if first > place.next:
            self.gaps += first - place.next
            # The oldest gap is forgotten: the list has at most REMEMBERED of them.
            place.skipped = [*place.skipped[1 - REMEMBERED :], (place.next, first)]
            place.next = first
        return self._ready()

    def _begin(self, epoch: str, n: int) -> None:
        place = self.place
        place.skipped = []
        if place.epoch is None:
            # Segments before the first one received are no gap.
            place.next = n
            if n > 0:
                place.skipped = [(0, n)]
        else:
            # The epoch that ends becomes the last of the past ones, of which at most REMEMBERED are known. `past_next`
            # has the same epochs.
            place.past = [*[e for e in place.past if e != epoch][1 - REMEMBERED :], place.epoch]
            # A resumed epoch continues where it ended; a new one counts from 0, so missing first segments are a gap.
            goes_on_at = place.past_next.get(epoch, min(0, n))
            place.past_next = {e: place.past_next[e] for e in place.past if e in place.past_next} | {
                place.epoch: place.next
            }
            place.next = goes_on_at
        place.epoch = epoch
        stored = [h.seq for h in self._waiting[epoch].values()]
        place.first_seq, place.newest = min(stored), max(stored)

    def _current(self) -> dict[int, _WaitingSegment[T]] | None:
        """The current epoch's segments that wait, by number."""
        return None if self.place.epoch is None else self._waiting.get(self.place.epoch)

    def _ready(self) -> list[T]:
        place = self.place
        waiting = self._current()
        ready = []
        while waiting and place.next in waiting:
            segment = waiting.pop(place.next)
            ready.append(segment.item)
            place.reached = segment.start
            place.next += 1
        if waiting is not None and not waiting and place.epoch is not None:
            del self._waiting[place.epoch]
        return ready
