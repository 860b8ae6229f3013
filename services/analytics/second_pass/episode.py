"""One second pass of a camera: the same segments followed twice, as they came and as they are. Pure.

    episode = Episode("lobby", limits, state, late)
    outs = episode.read(first, better, now)         # in the order of EVENTS
    outs = episode.end(now)                         # five minutes after the last event with `quality`

The copy that is fed with what came says what was said live, under the same ids: nothing has to be remembered of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from services.analytics.camera import CameraAnalytics
from services.analytics.incidents import Ref, replace
from services.analytics.second_pass.comparison import (
    Comparison,
    FalseAlarm,
    LateIncident,
    MoreOfIncident,
    RevisedMinute,
    Told,
)
from services.analytics.second_pass.late import LateIncidents
from services.analytics.second_pass.state import TUNING, Book, EpisodeState, second_pass_id
from services.analytics.second_pass.versions import First
from services.analytics.state import TUNING as CAMERA
from services.analytics.state import CameraState, Limits
from services.analytics.statements import Out, Outs
from shared.contract import rules
from shared.contract.events import Detections, Incident, Verdict
from shared.contract.rules import Rule, Rules


def begun(live: CameraState, book: Rules, first: First) -> EpisodeState:
    """A pass that starts with `first`, the state of the camera before that being `live`."""
    data = msgspec.msgpack.encode(live)
    as_said, as_is = (msgspec.msgpack.decode(data, type=CameraState) for _ in range(2))
    # Which of the segments comes first that lack frames is by chance, and names nothing.
    as_is.again = True
    # Live analytics goes on waiting for these.
    as_is.incidents.asked = {}
    return EpisodeState(
        next=min([first.seq, *live.held]),
        verdicts=first.seq,
        last=first.at,
        newest=first.seq,
        live=as_said,
        settled=as_is,
        books=[Book(0, rules.encode(book))],
    )


class Episode:
    """See the module. book: the rules that are in force."""

    def __init__(self, camera: str, limits: Limits, state: EpisodeState, late: LateIncidents) -> None:
        self._counts = [0, 0, 0]
        self._camera = camera
        self._s = state
        self._told = late
        self.book = self._rules()
        self._live = CameraAnalytics(camera, limits, self.book, state.live)
        self._settled = CameraAnalytics(camera, limits, _unasked(self.book), state.settled)
        self._comparison = Comparison(state.comparison, self._hold_s)
        if state.comparison.now is None:
            self._begin()

    def state(self) -> EpisodeState:
        """The state as it is now."""
        self._s.live, self._s.settled = self._live.state(), self._settled.state()
        return self._s

    def read(self, first: First, better: Detections, now: float) -> Outs:
        """What differs once one more event was read. now: by the log's clock."""
        outs = self.due(first.at, now)
        outs += self._use_rules(first.seq, now)
        said = self._live.read(first.seq, first.event, first.at)
        so = self._settled.read(first.seq, better, first.at)
        return outs + self._compared(said, so, now)

    def deadline(self) -> float | None:
        """When `due` has something to do."""
        return min((d for d in (self._live.deadline(), self._settled.deadline()) if d is not None), default=None)

    def due(self, at: float, now: float) -> Outs:
        """What differs once all that was stored until `at` has been read: each deadline at its own time."""
        outs: Outs = []
        before = None
        while (deadline := self.deadline()) is not None and deadline <= at and deadline != before:
            before = deadline
            outs += self._compared(self._live.due(deadline), self._settled.due(deadline), now)
        return outs

    def verdict(self, said: Verdict, at: float, now: float) -> Outs:
        """A model has answered about an incident that was told live."""
        outs = self.due(at, now)
        return outs + self._compared(self._live.verdict(said, at), [], now)

    def end(self, now: float) -> Outs:
        """Nothing more is read. What was told here, and lasts, has ended when it was last true."""
        outs = self.due(self._s.last + TUNING.tail_s, now)
        self._settled.incidents.end_all()
        ended = [what for what in self._settled.incidents.take() if isinstance(what, Incident)]
        for event in ended:
            outs += self._told.more(event)
        # One whose rule is gone, or that was followed anew, is not among these.
        return outs + self._told.end_all()

    def take_counts(self) -> tuple[int, int, int]:
        """How many late incidents, false alarms and minutes were told since this was last asked."""
        counts, self._counts = self._counts, [0, 0, 0]
        return counts[0], counts[1], counts[2]

    # ---- within

    def _begin(self) -> None:
        """What lasted when the pass started is known to both sides."""
        now = self._clock() or 0.0
        for state in self._settled.state().incidents.by_rule.values():
            for standing in state.standing.values():
                if standing.open:
                    self._comparison.known(standing.open.incident, now)
        self._s.comparison.now = now

    def _compared(self, said: Outs, so: Outs, now: float) -> Outs:
        """What to say of what both sides say."""
        for camera in (self._live, self._settled):
            camera.failed.clear()
        before = self._s.comparison.now or 0.0
        clock = self._clock() or before
        found = list(self._comparison.note(said, so, clock))
        # Without more video, and where the video's clock was set back, nothing like it comes up any more.
        over = clock < before - CAMERA.back_s or not self._settled.state().heard
        found += self._comparison.judged(math.inf if over else clock)
        return [out for told in found for out in self._say(told, now)]

    def _clock(self) -> float | None:
        """The end of the last segment, by its video's clock."""
        trail = self._settled.state().trail
        return trail[-1].end if trail else None

    def _say(self, told: Told, now: float) -> Iterable[Out]:
        match told:
            case LateIncident(events):
                self._counts[0] += 1
                rule = next((r for r in self.book.rules if r.id == events[0].rule), None)
                return self._told.tell(events, rule, self._evidence(events[0]), now)
            case MoreOfIncident(event):
                return self._told.more(event)
            case FalseAlarm(event):
                self._counts[1] += 1
                id = f"analytics/incidents/{self._camera}/{event.incident}/not_found"
                return [Out(replace(event, state="update", not_found=True), second_pass_id(id))]
            case RevisedMinute(out):
                self._counts[2] += 1
                return [out]

    def _evidence(self, incident: Incident) -> list[Ref]:
        """The segments that an incident names; what the camera's trail has of them, which ends with the last."""
        named = {(s.stream, s.seq) for s in incident.segments}
        trail = self._settled.state().trail
        return [ref for ref in trail if (ref.stream, ref.seq) in named] or trail[-1:]

    def _hold_s(self, rule: str) -> float:
        return next((r.hold_s for r in self.book.rules if r.id == rule), 0.0)

    # ---- rules

    def _rules(self) -> Rules:
        return rules.decode(self._s.books[0].rules)

    def _use_rules(self, seq: int, now: float) -> Outs:
        """Go on by the rules that held when an event was read live."""
        outs: Outs = []
        while len(self._s.books) > 1 and self._s.books[1].after < seq:
            del self._s.books[0]
            self.book = self._rules()
            outs += self._compared(self._live.use(self.book), self._settled.use(_unasked(self.book)), now)
        return outs


def _unasked(book: Rules) -> Rules:
    """Rules by which nothing is asked and nobody is alerted: that is for what is told to decide."""
    return msgspec.structs.replace(book, rules=list(_silent(book.rules)))


def _silent(known: Iterable[Rule]) -> Iterator[Rule]:
    for rule in known:
        yield msgspec.structs.replace(rule, verify=None, alert=None)
