"""A camera's second passes, one after the other. Pure.

settled = SettledCamera("lobby", limits, state)
settled.deferred(live, rules, first)        # live analytics is about to read an event with `quality`
settled.read_live(seq, at)                  # it has read an event
outs = settled.head.read(first, better, now)
outs = settled.end(now)                     # the first pass is over; False is what is left once all are
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from services.analytics.camera import CameraAnalytics
from services.analytics.second_pass.episode import Episode, begun
from services.analytics.second_pass.late import LateIncidents
from services.analytics.second_pass.state import TUNING, Book, EpisodeState, SecondPassState
from services.analytics.second_pass.versions import First
from services.analytics.state import Limits
from services.analytics.statements import Outs
from shared.contract import rules
from shared.contract.events import Verdict
from shared.contract.rules import Rules

# It begins a pass, or belongs to the last one; it was read before, or too many passes wait.
Deferred: TypeAlias = Literal["begun", "joined", "known", "refused"]


class SecondPassCamera:
    """See the module."""

    def __init__(self, name: str, limits: Limits, state: SecondPassState | None = None) -> None:
        self.name = name
        self._limits = limits
        self._s = state or SecondPassState()
        self._late = LateIncidents(name, limits.verify_s, self._s.late)
        self._head: Episode | None = None
        for episode in self._s.episodes:
            # Segments that waited for a missing one are read again.
            episode.next = min([episode.next, *episode.live.held, *episode.settled.held])

    def __bool__(self) -> bool:
        """Whether there is anything to do or to remember."""
        return bool(self._s.episodes) or bool(self._late)

    def state(self) -> SecondPassState:
        """The state as it is now."""
        if self._head is not None:
            self._s.episodes[0] = self._head.state()
        return self._s

    # ---- what happens live

    def deferred(self, live: CameraAnalytics, book: Rules, first: First) -> Deferred:
        """Live analytics is about to read an event with `quality`: what becomes of it."""
        last = self._last(first.at)
        if last is not None:
            last.last = max(last.last, first.at)
            last.waiting += first.seq > last.newest
            return "joined"
        if first.seq <= live.reached:
            return "known"
        if len(self._s.episodes) >= TUNING.most_episodes:
            return "refused"
        self._s.episodes.append(begun(live.state(), book, first))
        return "begun"

    def read_live(self, seq: int, at: float) -> None:
        """Live analytics has read an event."""
        if last := self._last(at):
            last.newest = max(last.newest, seq)

    def use(self, book: Rules, after: int) -> Outs:
        """Live analytics goes by other rules, from the event after a sequence on: nothing follows yet."""
        data = rules.encode(book)
        for episode in self._s.episodes:
            if episode.books[-1].rules != data:
                # Of the first, which is in force, only what is read next may be left out.
                episode.books = [episode.books[0], *episode.books[1:][1 - TUNING.most_books :], Book(after, data)]
        return []

    def verdict(self, said: Verdict) -> Outs:
        """A model has answered about an incident that live analytics does not know."""
        return self._late.verdict(said, wait=bool(self._s.episodes))

    def asked(self, incident: str) -> bool:
        """Whether a verdict on an incident is waited for."""
        return self._late.has(incident)

    def refused(self, incident: str) -> Outs:
        """VLM did not take the question about an incident."""
        return self._late.refused(incident)

    def deadline(self) -> float | None:
        """When a verdict is overdue, by the log's clock."""
        return self._late.deadline()

    def due(self, at: float) -> Outs:
        return self._late.due(at)

    def waiting(self) -> int:
        """How many segments of which frames were left out are to be read."""
        return sum(episode.waiting for episode in self._s.episodes)

    # ---- the second pass

    @property
    def place(self) -> EpisodeState | None:
        """Where the first pass reads on; None where there is none."""
        return self._s.episodes[0] if self._s.episodes else None

    @property
    def head(self) -> Episode:
        """The first pass. Raises IndexError where there is none."""
        if self._head is None:
            self._head = Episode(self.name, self._limits, self._s.episodes[0], self._late)
        return self._head

    @property
    def asks(self) -> bool:
        """Whether verdicts may be about what was said live in the first pass."""
        return any(b'"verify":"' in book.rules for book in self._s.episodes[0].books)

    def end(self, now: float) -> Outs:
        """The first pass is over."""
        outs = self.head.end(now)
        del self._s.episodes[0]
        self._head = None
        if not self._s.episodes:
            self._s.late.early.clear()
        return outs

    def give_up(self) -> Outs:
        """No pass can go on. What they told, and lasts, has ended; no verdict is waited for."""
        outs = self._late.end_all()
        self._s = SecondPassState()
        self._late = LateIncidents(self.name, self._limits.verify_s, self._s.late)
        self._head = None
        return outs

    def resume(self, book: Rules, after: int) -> Outs:
        """Go on where the checkpoint is, by the rules of now. Raises whatever is wrong with the checkpoint."""
        if self._s.episodes:
            _ = self.head
        return self.use(book, after)

    def is_due(self, until: float) -> bool:
        """Whether something follows in the first pass where nothing more was stored until then."""
        deadline = self._head.deadline() if self._head else None
        return deadline is not None and deadline <= until

    def ends_at(self) -> float:
        """When the first pass ends, unless more frames are left out before. Raises IndexError where there is none."""
        return self._s.episodes[0].last + TUNING.tail_s

    def _last(self, at: float) -> EpisodeState | None:
        """The pass that an event belongs to which was stored at a time, if it is the last one."""
        last = self._s.episodes[-1] if self._s.episodes else None
        return last if last and at <= last.last + TUNING.tail_s else None
