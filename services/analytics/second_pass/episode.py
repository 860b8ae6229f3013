"""One second pass of a camera: follow the same segments twice, as they came and as revised. Pure.

    episode = Episode("lobby", limits, state, late)
    outs = episode.read(first, better, now)         # in the order of EVENTS
    outs = episode.end(now)                         # five minutes after the last event with `quality`

The copy that reads the original events repeats the live results, under the same ids: they need not be stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.state import STEP_BACK_S, CameraState
from services.analytics.camera.statements import Out, Outs
from services.analytics.incidents.state import Ref
from services.analytics.limits import Limits
from services.analytics.rules.rulebook import without_actions
from services.analytics.second_pass.comparison import (
    Comparison,
    FalseAlarm,
    Finding,
    LateIncident,
    MoreOfIncident,
    RevisedMinute,
)
from services.analytics.second_pass.late import LateIncidents
from services.analytics.second_pass.state import Book, EpisodeState, second_pass_id
from services.analytics.second_pass.versions import First
from shared.contract import rules
from shared.contract.events import Detections, Incident, Verdict
from shared.contract.rules import Rules


def start_episode(live: CameraState, book: Rules, first: First) -> EpisodeState:
    """Return a pass that starts with `first`; `live` is the camera's state before that."""
    data = msgspec.msgpack.encode(live)
    live_copy, second_copy = (msgspec.msgpack.decode(data, type=CameraState) for _ in range(2))
    # Which segment with deferred frames comes first is random, and must not name objects.
    second_copy.is_second_pass = True
    # Live analytics still waits for these.
    second_copy.incidents.pending = {}
    return EpisodeState(
        next=min([first.seq, *live.waiting]),
        verdicts=first.seq,
        last=first.at,
        newest=first.seq,
        live=live_copy,
        second_pass=second_copy,
        books=[Book(0, rules.encode(book))],
    )


class Episode:
    """See the module. book: the rules that are in force."""

    def __init__(self, camera: str, limits: Limits, state: EpisodeState, late: LateIncidents) -> None:
        self._counts = [0, 0, 0]
        self._camera = camera
        self._s = state
        self._late = late
        self.book = rules.decode(state.books[0].rules)
        self._live = CameraAnalytics(camera, limits, self.book, state.live)
        # The findings decide about verification and alerts.
        self._second = CameraAnalytics(camera, limits, without_actions(self.book), state.second_pass)
        self._comparison = Comparison(state.comparison, self._hold_s)
        if state.comparison.now is None:
            self._begin()

    def state(self) -> EpisodeState:
        """Return the current state."""
        self._s.live, self._s.second_pass = self._live.state(), self._second.state()
        return self._s

    def read(self, first: First, better: Detections, now: float) -> Outs:
        """Read one more event; return the differences. now: by the log's clock."""
        outs = self.due(first.at, now)
        outs += self._use_rules(first.seq, now)
        live = self._live.read(first.seq, first.event, first.at)
        second = self._second.read(first.seq, better, first.at)
        return outs + self._compare(live, second, now)

    def deadline(self) -> float | None:
        """Return when `due` has something to do."""
        return min((d for d in (self._live.deadline(), self._second.deadline()) if d is not None), default=None)

    def due(self, at: float, now: float) -> Outs:
        """Return the differences once all that was stored until `at` has been read: each deadline at its own time."""
        outs: Outs = []
        before = None
        while (deadline := self.deadline()) is not None and deadline <= at and deadline != before:
            before = deadline
            outs += self._compare(self._live.due(deadline), self._second.due(deadline), now)
        return outs

    def verdict(self, verdict: Verdict, at: float, now: float) -> Outs:
        """Apply a verdict about a live incident."""
        outs = self.due(at, now)
        return outs + self._compare(self._live.verdict(verdict, at), [], now)

    def end(self, now: float) -> Outs:
        """End the pass: its lasting late incidents ended when they were last true."""
        outs = self.due(self._s.ends_at(), now)
        self._second.analysis.incidents.end_all()
        ended = [what for what in self._second.analysis.incidents.verifications.take() if isinstance(what, Incident)]
        for event in ended:
            outs += self._late.follow_up(event)
        # This excludes incidents whose rule was removed, or whose camera started again.
        return outs + self._late.end_all()

    def take_counts(self) -> tuple[int, int, int]:
        """Return numbers of late incidents, false alarms and minutes published since the last call."""
        counts, self._counts = self._counts, [0, 0, 0]
        return counts[0], counts[1], counts[2]

    # ---- within

    def _begin(self) -> None:
        """Record the incidents that lasted when the pass started: both sides know them."""
        now = self._clock() or 0.0
        for state in self._second.state().incidents.by_rule.values():
            for standing in state.standing.values():
                if standing.open:
                    self._comparison.add_common(standing.open.incident, now)
        self._s.comparison.now = now

    def _compare(self, live: Outs, second: Outs, now: float) -> Outs:
        """Return the events for the differences between both sides' results."""
        for camera in (self._live, self._second):
            camera.failed.clear()
        before = self._s.comparison.now or 0.0
        clock = self._clock() or before
        findings = list(self._comparison.note(live, second, clock))
        # Without more video, or after the video's clock was set back, no similar incident comes up any more.
        over = clock < before - STEP_BACK_S or not self._second.state().last_active
        findings += self._comparison.findings(math.inf if over else clock)
        return [out for finding in findings for out in self._events_of(finding, now)]

    def _clock(self) -> float | None:
        """Return the end of the last segment, by its video's clock."""
        trail = self._second.state().trail
        return trail[-1].end if trail else None

    def _events_of(self, finding: Finding, now: float) -> Iterable[Out]:
        match finding:
            case LateIncident(events):
                self._counts[0] += 1
                rule = next((r for r in self.book.rules if r.id == events[0].rule), None)
                return self._late.announce(events, rule, self._evidence(events[0]), now)
            case MoreOfIncident(event):
                return self._late.follow_up(event)
            case FalseAlarm(event):
                self._counts[1] += 1
                id = f"analytics/incidents/{self._camera}/{event.incident}/not_found"
                return [Out(replace(event, state="update", not_found=True), second_pass_id(id))]
            case RevisedMinute(out):
                self._counts[2] += 1
                return [out]

    def _evidence(self, incident: Incident) -> list[Ref]:
        """Return the segments that an incident names and the camera's trail still has; else the last one of the
        trail.
        """
        named = {(s.stream, s.seq) for s in incident.segments}
        trail = self._second.state().trail
        return [ref for ref in trail if (ref.stream, ref.seq) in named] or trail[-1:]

    def _hold_s(self, rule: str) -> float:
        return next((r.hold_s for r in self.book.rules if r.id == rule), 0.0)

    # ---- rules

    def _use_rules(self, seq: int, now: float) -> Outs:
        """Apply the rules that were in force when an event was read live."""
        outs: Outs = []
        while len(self._s.books) > 1 and self._s.books[1].after < seq:
            del self._s.books[0]
            self.book = rules.decode(self._s.books[0].rules)
            outs += self._compare(self._live.use(self.book), self._second.use(without_actions(self.book)), now)
        return outs
