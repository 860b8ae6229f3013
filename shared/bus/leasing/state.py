"""A thing's lease in one process: its states, and what each event changes. Pure.

A process claims a thing, and renews its lease. A process that shares the thing with others may offer it. It keeps the
thing until another process has taken it, and works on it until that one announces its start. If it gave the thing up
first, an outage could come between.

| state | event | next state |
|---|---|---|
| FREE | CLAIM: it had no holder | HELD |
| FREE | TAKE: another process offered it, and works on it | TAKEN |
| TAKEN | START: we work on it too | STARTED |
| TAKEN | STEP_IN: we can't until the other process stops | HELD |
| STARTED | ANNOUNCE: our start is stored | HELD |
| HELD | OFFER | OFFERED |
| OFFERED | KEEP: the offer is over | HELD |
| STARTED, HELD, OFFERED | HAND_OVER: another process has taken it from our offer | LEAVING |
| LEAVING | TAKE_BACK: the other process did not start | HELD |
| TAKEN, STARTED, HELD, OFFERED | LOSE: another process has it | LOST |
| LEAVING | LOSE: the other process works on it, or never will | LOST |
| LOST | FORGET: our work on it stops | FREE |
| TAKEN, STARTED, HELD, OFFERED | RELEASE | FREE |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from shared.bus.leasing.entry import Entry
from shared.contract.topology import LEASES_MAX_AGE_S

# In leases: between our last read of the clock and the server's receipt of our publish.
_MARGIN = 0.05
# In leases: how long we work on a thing that another process has taken but not begun.
_LEAVING = 2.0
# The bucket forgets an entry that is older than LEASES_MAX_AGE_S, four times as much.
_REWRITE_S = LEASES_MAX_AGE_S / 4
# The time in which the previous holder stores what precedes our start, once it knows that.
_STORES_S = 1.0
# The new holder may start a little earlier, as cameras repeat their last video to a new connection.
_BEFORE_S = 10.0
# Clocks that are further apart can't date a handover.
_APART_S = 2.0

# See the module. FREE: not ours.
LeaseState = Enum("LeaseState", "FREE TAKEN STARTED HELD OFFERED LEAVING LOST")
LeaseEvent = Enum("LeaseEvent", "CLAIM TAKE START STEP_IN ANNOUNCE OFFER KEEP HAND_OVER TAKE_BACK LOSE FORGET RELEASE")
# The bucket names this process as the holder.
OWNED = frozenset({LeaseState.TAKEN, LeaseState.STARTED, LeaseState.HELD, LeaseState.OFFERED})
TRANSITIONS = {
    (LeaseState.FREE, LeaseEvent.CLAIM): LeaseState.HELD,
    (LeaseState.FREE, LeaseEvent.TAKE): LeaseState.TAKEN,
    (LeaseState.TAKEN, LeaseEvent.START): LeaseState.STARTED,
    (LeaseState.TAKEN, LeaseEvent.STEP_IN): LeaseState.HELD,
    (LeaseState.STARTED, LeaseEvent.ANNOUNCE): LeaseState.HELD,
    (LeaseState.HELD, LeaseEvent.OFFER): LeaseState.OFFERED,
    (LeaseState.OFFERED, LeaseEvent.KEEP): LeaseState.HELD,
    **{(state, LeaseEvent.HAND_OVER): LeaseState.LEAVING for state in OWNED - {LeaseState.TAKEN}},
    (LeaseState.LEAVING, LeaseEvent.TAKE_BACK): LeaseState.HELD,
    **{(state, LeaseEvent.LOSE): LeaseState.LOST for state in OWNED | {LeaseState.LEAVING}},
    (LeaseState.LOST, LeaseEvent.FORGET): LeaseState.FREE,
    **{(state, LeaseEvent.RELEASE): LeaseState.FREE for state in OWNED},
}


class Loss(NamedTuple):
    """How a lease ended. until: Unix seconds until which the thing was ours; None if that is unknown.
    was_ours: False if another process worked on it all the time, as we had not started. also: until when its other
    parts were ours; empty: until then, too.
    """

    until: float | None = None
    was_ours: bool = True
    also: tuple[float | None, ...] = ()


@dataclass
class Lease:
    """revision: of our entry. until: its end in monotonic seconds, from before the request, so never too late.
    stored_at: when the bucket got the entry that we would write now, in monotonic seconds; None if that is unknown.
    session: in which of our sessions it got it.
    doubts: how often an older entry than ours has named another holder since.

    after, since, also, again: as in `Entry`. settled_at: when the previous holder has stored what precedes our start,
    in monotonic seconds. Of a LEAVING thing: left_at: when we learned that another process has it, in monotonic
    seconds. owned_at: when it was still surely ours, in Unix seconds.
    """

    process: str
    lease_s: float
    state: LeaseState = LeaseState.FREE
    revision: int = 0
    until: float = 0.0
    stored_at: float | None = None
    session: int = 0
    doubts: int = 0
    after: str = ""
    since: int | None = None
    also: tuple[int, ...] = ()
    again: bool = False
    settled_at: float = 0.0
    left_at: float = 0.0
    owned_at: float = 0.0
    loss: Loss = field(default_factory=Loss)

    def apply(self, event: LeaseEvent) -> None:
        """Change the state. Raises KeyError if the table has no such transition."""
        self.state = TRANSITIONS[self.state, event]
        self.stored_at = None

    def claimed(self, entry: Entry) -> Lease:
        """Return the lease to write over `entry`, the thing's newest one."""
        claim = Lease(self.process, self.lease_s, self.state)
        if self.state is LeaseState.LEAVING:
            claim.again = True
            claim.apply(LeaseEvent.TAKE_BACK)
        elif entry.offered or entry.waits:
            claim.after = entry.after if entry.waits else entry.process
            claim.apply(LeaseEvent.TAKE)
        else:
            claim.apply(LeaseEvent.CLAIM)
        return claim

    def entry(self) -> Entry:
        """Return our entry."""
        offered = self.state is LeaseState.OFFERED
        return Entry(self.process, self.lease_s, offered, self.after, self.since, self.again, also=self.also)

    def returned(self) -> Entry:
        """Return the entry that gives a TAKEN thing back to the previous holder."""
        return Entry(self.process, self.lease_s, offered=True, after=self.after)

    def is_settled(self, now: float) -> bool:
        """Whether the previous holder, if any, knows the time of our start, and has stored the rest."""
        return self.state in (LeaseState.HELD, LeaseState.OFFERED) and now >= self.settled_at

    def holds(self, now: float) -> bool:
        """Whether we may publish."""
        return self.is_settled(now) and now < self.until

    def start(self, at: float | None, also: Sequence[float] = ()) -> None:
        """Record that we work on a TAKEN thing since `at`, in Unix seconds; None: we can't until the other stops.

        also: since when we work on its other parts.
        """
        if at is None:
            self.after = ""
            self.apply(LeaseEvent.STEP_IN)
        else:
            self.since, self.also = int(at * 1000), tuple(int(other * 1000) for other in also)
            self.apply(LeaseEvent.START)

    def record_write(self, entry: Entry, revision: int, sent: float, now: float, session: int) -> None:
        """Record that `entry`, sent then and in that session, is stored. The previous holder learns from it when we
        started.
        """
        if self.state not in OWNED:
            return
        self.revision, self.doubts = revision, 0
        self.extend(sent)
        if self.state is LeaseState.STARTED and entry.since is not None:
            self.settled_at = now + _STORES_S
            self.apply(LeaseEvent.ANNOUNCE)
        self.session, self.stored_at = session, sent if entry == self.entry() else None

    def extend(self, sent: float) -> None:
        """Extend it from then on, in monotonic seconds, when we sent what renews it."""
        self.until = max(self.until, sent + (1 - _MARGIN) * self.lease_s)

    def lasts_with(self, session: int, now: float) -> bool:
        """Whether it lasts as long as our session, 0 for none: others end that before they take it.

        What others may take, or what the bucket may have forgotten, is renewed by itself.
        """
        is_stored = self.stored_at is not None and now < self.stored_at + _REWRITE_S
        return self.state is LeaseState.HELD and is_stored and 0 < session == self.session

    def lose(self, entry: Entry, now: float, unix: float) -> None:
        """Lose the thing to the holder that `entry` names. unix: `now` in Unix seconds."""
        left_s = self.until - now
        # If the previous holder took it back, or handed it to another, it did not know of our start.
        is_unnoticed = self.state is LeaseState.STARTED and (entry.again or entry.after == self.after)
        if self.state is LeaseState.TAKEN or is_unnoticed:
            self._end(Loss(was_ours=False))
        elif entry.after == self.process:
            self.left_at = now
            self.owned_at = unix + left_s - self.lease_s
            self.apply(LeaseEvent.HAND_OVER)
        else:
            # No process can take a thing that was not offered, while we hold it.
            self._end(Loss(until=unix + left_s if left_s <= 0 else None))

    def leave(self, entry: Entry, now: float, unix: float, *, is_silent: bool) -> None:
        """Lose a LEAVING thing once the process that took it works on it. is_silent: whether that process is gone."""
        is_taken = entry.is_of_another(self.process)
        # The follower of another process knows that this one had begun. One that follows none can't work on it while we
        # do.
        follows_us = entry.waits and entry.after == self.process
        # As long as it is alive, it may still begin, or give it back.
        is_abandoned = is_silent and now > self.left_at + _LEAVING * self.lease_s
        if is_taken and entry.since is not None:
            until, *also = (self._believed(ms / 1000, unix) for ms in (entry.since, *entry.also))
            self._end(Loss(until, also=tuple(also)))
        elif is_abandoned or (is_taken and not follows_us):
            self._end(Loss())

    def _believed(self, at: float, unix: float) -> float | None:
        """Return the time of another process's start; None if its clock is not ours."""
        return at if self.owned_at - _BEFORE_S <= at <= unix + _APART_S else None

    def _end(self, loss: Loss) -> None:
        self.loss = loss
        self.apply(LeaseEvent.LOSE)
