"""A camera's second passes, one after the other. Pure.

second_pass = SecondPassCamera("lobby", limits, state)
second_pass.defer(live, rules, first)       # live analytics is about to read an event with `quality`
second_pass.read_live(seq, at)              # it has read an event
outs = second_pass.head.read(first, better, now)
outs = second_pass.end(now)                 # the first pass is over; falsy once no pass and no late incident is left
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.second_pass.episode import Episode, start_episode
from services.analytics.second_pass.late import LateIncidents
from services.analytics.second_pass.state import MAX_BOOKS, MAX_EPISODES, Book, EpisodeState, SecondPassState
from services.analytics.second_pass.versions import First
from shared.contract import rules
from shared.contract.events import Verdict
from shared.contract.rules import Rules

# It begins a pass, or joins the last one; it was read before, or too many passes wait.
Deferral: TypeAlias = Literal["begun", "joined", "known", "refused"]


class SecondPassCamera:
    """See the module. late: its late incidents."""

    def __init__(self, name: str, limits: Limits, state: SecondPassState | None = None) -> None:
        self.name = name
        self._limits = limits
        self._s = state or SecondPassState()
        self.late = LateIncidents(name, limits.verify_s, self._s.late)
        self._head: Episode | None = None
        for episode in self._s.episodes:
            # Segments that waited for a missing one are read again.
            episode.next = min([episode.next, *episode.live.waiting, *episode.second_pass.waiting])

    def __bool__(self) -> bool:
        """Whether there is anything to do or to remember."""
        return bool(self._s.episodes) or bool(self.late)

    def state(self) -> SecondPassState:
        """Return the current state."""
        if self._head is not None:
            self._s.episodes[0] = self._head.state()
        return self._s

    # ---- what happens live

    def defer(self, live: CameraAnalytics, book: Rules, first: First) -> Deferral:
        """Assign an event with `quality`, before live analytics reads it; return the outcome."""
        last = self._last(first.at)
        if last is not None:
            last.last = max(last.last, first.at)
            last.waiting += first.seq > last.newest
            return "joined"
        if first.seq <= live.reached:
            return "known"
        if len(self._s.episodes) >= MAX_EPISODES:
            return "refused"
        self._s.episodes.append(start_episode(live.state(), book, first))
        return "begun"

    def read_live(self, seq: int, at: float) -> None:
        """Note that live analytics has read an event."""
        if last := self._last(at):
            last.newest = max(last.newest, seq)

    def use(self, book: Rules, after: int) -> Outs:
        """Schedule the rules that live analytics uses after a sequence; no results follow yet."""
        data = rules.encode(book)
        for episode in self._s.episodes:
            if episode.books[-1].rules != data:
                # The first rules are in force and stay; the oldest scheduled ones may be dropped.
                episode.books = [episode.books[0], *episode.books[1:][1 - MAX_BOOKS :], Book(after, data)]
        return []

    def verdict(self, verdict: Verdict) -> Outs:
        """Apply a verdict about an incident that live analytics does not know."""
        return self.late.verdict(verdict, wait=bool(self._s.episodes))

    def waiting(self) -> int:
        """Return the number of segments with deferred frames to be read."""
        return sum(episode.waiting for episode in self._s.episodes)

    # ---- the second pass

    @property
    def place(self) -> EpisodeState | None:
        """The reading position of the first pass; None if there is none."""
        return self._s.episodes[0] if self._s.episodes else None

    @property
    def head(self) -> Episode:
        """The first pass. Raises IndexError if there is none."""
        if self._head is None:
            self._head = Episode(self.name, self._limits, self._s.episodes[0], self.late)
        return self._head

    def end(self, now: float) -> Outs:
        """End the first pass."""
        outs = self.head.end(now)
        del self._s.episodes[0]
        self._head = None
        if not self._s.episodes:
            self._s.late.early.clear()
        return outs

    def give_up(self) -> Outs:
        """Give up all passes. Their lasting incidents end, and pending verdicts are dropped."""
        outs = self.late.end_all()
        self._s = SecondPassState()
        self.late = LateIncidents(self.name, self._limits.verify_s, self._s.late)
        self._head = None
        return outs

    def resume(self, book: Rules, after: int) -> Outs:
        """Resume from the checkpoint, by the current rules. Raises any error that the checkpoint causes."""
        if self._s.episodes:
            _ = self.head
        return self.use(book, after)

    def is_due(self, until: float) -> bool:
        """Whether the first pass yields results if nothing more was stored until then."""
        deadline = self._head.deadline() if self._head else None
        return deadline is not None and deadline <= until

    def _last(self, at: float) -> EpisodeState | None:
        """Return the last pass, if an event that was stored at a time belongs to it."""
        last = self._s.episodes[-1] if self._s.episodes else None
        return last if last and at <= last.ends_at() else None
