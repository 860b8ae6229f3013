"""All of one camera: from detections to tracks, incidents, counts and verification requests. Pure: no clock, no I/O.

    camera = CameraAnalytics("lobby", limits, rules)
    for out in camera.read(seq, event, at): ...      # events in any order
    for out in camera.due(at): ...                   # all that was stored until then has been read
    camera.state()                                   # plain data: another CameraAnalytics can resume from it

Results depend only on the events, the rules and the given times, never on when or where they are computed. So a replica
that takes over publishes the same events under the same ids, and duplicates are dropped.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import msgspec

from services.analytics.camera.analysis import Analysis
from services.analytics.camera.order import Order
from services.analytics.camera.state import CameraState
from services.analytics.camera.statements import Outs
from services.analytics.incidents.state import IncidentsState
from services.analytics.limits import Limits
from shared.contract.events import Detections, Verdict, encode
from shared.contract.rules import Rules


class Arrival:
    """Detections as they came, compressed while they wait. seq: in EVENTS. size: bytes, compressed."""

    __slots__ = ("_event", "_packed", "seq")

    def __init__(self, seq: int, event: Detections) -> None:
        self.seq = seq
        self._event: Detections | None = event
        self._packed = b""

    @property
    def size(self) -> int:
        return len(self._packed)

    @property
    def event(self) -> Detections:
        return self._event or msgspec.json.decode(zlib.decompress(self._packed), type=Detections)

    def pack(self) -> None:
        """Compress the event: decoded, it takes 4 to 11 times as much memory."""
        if self._event:
            self._packed = zlib.compress(encode(self._event), 1)
            self._event = None


class FailedSegment(NamedTuple):
    """Detections that analytics failed on. seq: in EVENTS."""

    seq: int
    error: Exception


class CameraAnalytics:
    """See the module. processed: number of segments. failed: those that could not be analysed."""

    def __init__(self, name: str, limits: Limits, rules: Rules, state: CameraState | None = None) -> None:
        self.name = name
        self.processed = 0
        self.failed: list[FailedSegment] = []
        self._limits = limits
        self._s = state or CameraState()
        self.order: Order[Arrival] = Order(limits.reorder_s, self._s.place)
        self._rereads = set(self._s.waiting)
        self._rules = rules
        self.analysis = Analysis(name, limits, rules, self._s)

    def state(self) -> CameraState:
        """Return the current state. It must be stored before anything else is read."""
        # Segments that are still to be read again are stored as waiting too.
        self._s.waiting = sorted(self._rereads | {a.seq for a in self.order.waiting()})
        return self._s

    @property
    def waiting_bytes(self) -> int:
        """The compressed bytes of segments that wait for a missing one."""
        return sum(arrival.size for arrival in self.order.waiting())

    @property
    def reached(self) -> int:
        """The sequence in EVENTS up to which everything was read."""
        return self._s.seq

    def restart(self, *, forget_verdicts: bool = False) -> Outs:
        """Start again after an internal error: end and forget all tracks.

        forget_verdicts: also forget which incidents wait for a verdict.
        """
        s, before = self._s, self.analysis
        try:
            outs = before.end(s.last_active)
        except Exception:  # failed twice: no result is possible
            outs = []
        incidents = IncidentsState(
            pending={} if forget_verdicts else s.incidents.pending, set_backs=s.incidents.set_backs
        )
        self._s = CameraState(
            seq=s.seq,
            place=s.place,
            id_prefix=s.id_prefix,
            count=s.count,
            incidents=incidents,
            last_active=s.last_active,
            model=s.model,
            is_second_pass=s.is_second_pass,
        )
        self.analysis = Analysis(self.name, self._limits, self._rules, self._s)
        self.analysis.objects, self.analysis.incidents.suppressed = before.objects, before.incidents.suppressed
        return outs

    def use(self, rules: Rules) -> Outs:
        """Apply other rules from the next segment on. Incidents of removed rules end."""
        self._rules = rules
        self.analysis.use(rules)
        return self.analysis.take_incidents("rules")

    def read(self, seq: int, event: Detections, at: float) -> Outs:
        """Read an event of detections; process the segments that are in order now. seq: in EVENTS. at: when it was
        stored.
        """
        self.mark_read(seq - 1)
        is_reread = seq <= self._s.seq
        if is_reread and seq not in self._rereads:
            return []
        outs = self.due(at)
        self._rereads.discard(seq)
        self._s.seq = max(self._s.seq, seq)
        ref = event.segment
        start = event.start.timestamp()
        arrival = Arrival(seq, event)
        ready = self.order.push(ref.epoch, ref.n, seq=ref.seq, start=start, at=at, item=arrival, is_reread=is_reread)
        if arrival not in ready:
            arrival.pack()
        return outs + [out for arrival in ready for out in self._process(arrival, at)]

    def give_up_missing(self, at: float) -> Outs:
        """Stop waiting for missing segments."""
        return [out for arrival in self.order.give_up_all() for out in self._process(arrival, at)]

    def is_idle(self) -> bool:
        """Whether nothing is left that a later event could continue."""
        return not (
            self._s.last_active or self._rereads or self.order.waiting() or self.analysis.incidents.state.pending
        )

    def deadline(self) -> float | None:
        """Return when `due` has something to do."""
        every = (self.order.deadline(), self.analysis.incidents.verifications.deadline(), self.analysis.idle_at())
        return min((time for time in every if time is not None), default=None)

    def due(self, at: float) -> Outs:
        """Apply all deadlines until `at`, once everything stored until then has been read.

        Missing segments are given up, verdicts become overdue, and the video may have ended. Each deadline is applied
        at its own time, so that the frequency of calls does not matter.
        """
        outs: Outs = []
        # Restored segments are still to be read again: until then nothing is known to be missing.
        while not self._rereads and (deadline := self.deadline()) is not None and deadline <= at:
            for arrival in self.order.due(deadline):
                outs += self._process(arrival, deadline)
            self.analysis.incidents.verifications.due(deadline)
            outs += self.analysis.take_incidents("overdue")
            if self.analysis.idle_at() == deadline:
                self._s.last_active = 0.0
                outs += self.analysis.end(deadline)
        return outs

    def mark_read(self, seq: int) -> None:
        """Note that EVENTS has been read up to a sequence: restored segments before it that did not come again are
        lost.
        """
        if self._rereads:
            self._rereads = {n for n in self._rereads if n > seq}

    def verdict(self, verdict: Verdict, at: float) -> Outs:
        """Apply a vision language model's verdict. at: when it was stored."""
        outs = self.due(at)
        self.analysis.incidents.verifications.verdict(verdict)
        return outs + self.analysis.take_incidents("verdict")

    def refused(self, incident: str) -> Outs:
        """Mark an incident unverified: VLM did not take its request."""
        self.analysis.incidents.verifications.refused(incident)
        return self.analysis.take_incidents("refused")

    def _process(self, arrival: Arrival, at: float) -> Outs:
        """Analyse a segment. A failure ends this camera's tracks and harms no other segment."""
        self.processed += 1
        try:
            return self.analysis.read(arrival.event, at)
        except Exception as e:
            self.failed.append(FailedSegment(arrival.seq, e))
            return self.restart()
