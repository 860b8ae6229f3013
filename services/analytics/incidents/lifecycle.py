"""Incidents from rules that are true at a frame: begin, update and end them. Pure.

A rule is true for keys, such as an object's id. Each key of a rule has a phase. At a frame, a key gets a signal:

- `true`: the rule is true for it, but has not been for `hold_s`, or its incident lasts already
- `held`: it has been true for `hold_s`, and an incident may begin
- `blocked`: it has been true for `hold_s`, but a cooldown or too many others suppress the incident; `missed`: the same
  of a moment, such as a crossing
- `paused`: it is not true, for less than `end_after_s`; `over`: for longer, or before an incident began
- `undone`: the opposite of a moment is true

| phase | signal | next phase | published |
|---|---|---|---|
| absent | true | holding | |
| holding | true | holding | |
| holding | held | lasting | start |
| holding | blocked | suppressed | |
| holding | missed, over, undone | absent | |
| suppressed | true, blocked | suppressed | |
| suppressed | held | lasting | start |
| suppressed | over | absent | |
| lasting | true | lasting | update, if objects have joined |
| lasting | paused, undone | lasting | |
| lasting | over | absent | end |
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from msgspec.structs import replace

from services.analytics.incidents.state import (
    IncidentsState,
    Open,
    Phase,
    Ref,
    ReportedCase,
    RuleState,
    Standing,
)
from services.analytics.incidents.verification import Verifications
from services.analytics.rules.conditions import Case, Evaluation
from services.analytics.tracking.objects import instant
from shared.contract.events import Incident, IncidentObject, SegmentRef, Snapshot
from shared.contract.rules import Rule

Signal: TypeAlias = Literal["true", "held", "blocked", "missed", "paused", "over", "undone"]

# Bounds that keep a camera's state small enough for a checkpoint, and an incident for an event; chosen by hand.

# Evidence begins this long before a rule became true: the cause may show then.
EVIDENCE_LEAD_S = 1.0
# A long incident names this many of its first segments.
MAX_FIRST_SEGMENTS = 30
# A long incident names this many of its last segments; other events in EVENTS name the rest.
MAX_LAST_SEGMENTS = 30
# An incident names this many objects at most.
MAX_OBJECTS = 50
# An incident's id has at most this many characters: it becomes a part of a subject.
MAX_ID_CHARACTERS = 128
# When objects join an incident, updates are at least this far apart.
UPDATE_S = 5.0
# At most this many incidents of a rule last at the same time.
MAX_LASTING = 100


# The next phase of a rule and key, by its phase and a signal.
TRANSITIONS: Mapping[tuple[Phase, Signal], Phase] = {
    ("absent", "true"): "holding",
    ("holding", "true"): "holding",
    ("holding", "held"): "lasting",
    ("holding", "blocked"): "suppressed",
    ("holding", "missed"): "absent",
    ("holding", "over"): "absent",
    ("holding", "undone"): "absent",
    ("suppressed", "true"): "suppressed",
    ("suppressed", "held"): "lasting",
    ("suppressed", "blocked"): "suppressed",
    ("suppressed", "over"): "absent",
    ("lasting", "true"): "lasting",
    ("lasting", "paused"): "lasting",
    ("lasting", "over"): "absent",
    ("lasting", "undone"): "lasting",
}


class FrameContext(NamedTuple):
    """When a rule is judged. time: the frame's. at: the log's clock. trail: the camera's last segments, oldest first.

    final: no frame follows, so that cases need not last `hold_s`.
    """

    time: float
    at: float
    trail: Sequence[Ref]
    final: bool = False


class Incidents:
    """One camera's incidents; see the module. suppressed: number of incidents suppressed by a cooldown or a bound."""

    def __init__(self, camera: str, verify_s: float, state: IncidentsState | None = None) -> None:
        self.state = state or IncidentsState()
        self.suppressed = 0
        self.verifications = Verifications(verify_s, self.state.pending, self._lasting)
        self._camera = camera

    def judge(self, rule: Rule, evaluation: Evaluation, frame: FrameContext) -> None:
        """Apply a rule's evaluation at a frame."""
        state = self._state_of(rule)
        for key in evaluation.undone:
            self._step(rule, state, key, "undone", frame)
        for key, case in evaluation.cases.items():
            found = _reported_case(case)
            since = frame.time if case.since is None else case.since
            standing = state.standing.setdefault(key, Standing(since, frame.time, found))
            standing.last, standing.case = frame.time, found
            if standing.open:
                self._keep_up(standing.open, standing, frame.trail)
        for key, until in evaluation.left.items():
            if (left := state.standing.get(key)) and not rule.momentary:
                left.last = max(left.since, min(left.last, until))
        for key in list(state.standing):
            self._step(rule, state, key, _signal(rule, state, key, key in evaluation.cases, frame), frame)

    def _state_of(self, rule: Rule) -> RuleState:
        """Return a rule's state, a new one if the rule is now about something else."""
        about = f"{type(rule).__struct_config__.tag} {getattr(rule, 'zone', '')} {getattr(rule, 'line', '')}"
        if (previous := self.state.by_rule.get(rule.id)) and previous.about != about:
            self.end_all(keep=self.state.by_rule.keys() - {rule.id})
            del self.state.by_rule[rule.id]
        return self.state.by_rule.setdefault(rule.id, RuleState(about=about))

    def _step(self, rule: Rule, state: RuleState, key: str, signal: Signal, frame: FrameContext) -> None:
        """Make the transition of a key, and what it brings about."""
        standing = state.standing.get(key)
        if standing is None:
            return
        before, after = standing.phase, TRANSITIONS[standing.phase, signal]
        if signal in ("blocked", "missed"):
            self.suppressed += before == "holding"
        if before == after:
            return
        if after == "lasting":
            state.last_start = frame.time
            self._begin(rule, key, standing, frame)
        elif after == "suppressed":
            standing.is_suppressed = True
        elif before == "lasting":
            self._end(state, key)
        else:
            del state.standing[key]

    def end_all(self, keep: Iterable[str] = ()) -> None:
        """End all lasting incidents at their last true time, as no later frames follow. keep: ids of rules to leave
        alone.
        """
        exempt = set(keep)
        for id, state in list(self.state.by_rule.items()):
            if id in exempt:
                continue
            for key in list(state.standing):
                if state.standing[key].open:
                    self._end(state, key)
            state.standing.clear()

    def reset(self) -> None:
        """Handle a clock that was set back: end lasting incidents, and restart every cooldown."""
        self.end_all()
        self.state.set_backs += 1
        for state in self.state.by_rule.values():
            state.last_start = None

    def forget(self, rules: Iterable[str]) -> None:
        """Forget rules that are not among these ids."""
        for id in set(self.state.by_rule) - set(rules):
            del self.state.by_rule[id]

    def _lasting(self, id: str) -> Open | None:
        every = (s.open for state in self.state.by_rule.values() for s in state.standing.values())
        return next((open for open in every if open and open.incident.incident == id), None)

    def _begin(self, rule: Rule, key: str, standing: Standing, frame: FrameContext) -> None:
        trail = frame.trail
        evidence = [r for r in trail if r.end > standing.since - EVIDENCE_LEAD_S] or [trail[-1]]
        id = _name(rule.id, key, standing.since, self.state.set_backs)
        last = trail[-1]
        incident = Incident(
            camera=self._camera,
            incident=id,
            state="start",
            rule=rule.id,
            condition=str(type(rule).__struct_config__.tag),
            severity=rule.severity,
            start=instant(standing.since),
            time=instant(standing.last),
            zone=getattr(rule, "zone", None),
            line=getattr(rule, "line", None),
            direction=standing.case.direction,
            value=standing.case.value,
            objects=standing.case.objects[:MAX_OBJECTS],
            segments=_first_and_last([r.segment for r in evidence]),
            snapshot=Snapshot(stream=last.stream, seq=last.seq, time=instant(standing.last)),
            verification="pending" if rule.verify else "none",
        )
        standing.open = Open(incident, standing.last)
        self.verifications.announce(rule, incident, evidence, frame.at)

    def _keep_up(self, open: Open, standing: Standing, trail: Sequence[Ref]) -> None:
        previous = open.incident
        segments = list(previous.segments)
        last = trail[-1]
        if (segments[-1].epoch, segments[-1].n) != (last.epoch, last.n):
            segments = _first_and_last([*segments, last.segment])
        before = {o.id: o for o in previous.objects}
        objects = dict(islice((before | {o.id: o for o in standing.case.objects}).items(), MAX_OBJECTS))
        open.joined |= objects.keys() != before.keys()
        open.incident = replace(
            previous,
            state="update",
            time=instant(standing.last),
            value=standing.case.value,
            objects=list(objects.values()),
            segments=segments,
        )
        if open.joined and standing.last - open.last_event_time >= UPDATE_S:
            open.joined, open.last_event_time = False, standing.last
            self.verifications.out.append(open.incident)

    def _end(self, state: RuleState, key: str) -> None:
        standing = state.standing.pop(key)
        assert standing.open
        last = instant(standing.last)
        ended = replace(standing.open.incident, state="end", end=last, time=last)
        self.verifications.out.append(ended)
        if pending := self.state.pending.get(ended.incident):
            pending.incident = ended


def _signal(rule: Rule, state: RuleState, key: str, is_case: bool, frame: FrameContext) -> Signal:
    standing = state.standing[key]
    if standing.open:
        return "true" if is_case else "over" if frame.time - standing.last >= rule.end_after_s else "paused"
    # A moment stays true after it has passed.
    if not (is_case or rule.momentary):
        return "over"
    until = frame.time if rule.momentary else standing.last
    if not frame.final and until - standing.since < rule.hold_s:
        return "true"
    lasting = sum(s.open is not None for s in state.standing.values())
    is_cool = state.last_start is None or frame.time - state.last_start >= rule.cooldown_s
    if lasting < MAX_LASTING and is_cool:
        return "held"
    return "missed" if rule.momentary else "blocked"


def _name(rule: str, key: str, since: float, set_backs: int) -> str:
    """Return an incident's id, which must also fit a job's: if it is too long, a checksum replaces the objects' ids.

    set_backs: distinguishes a moment from the same one after the clock was set back.
    """
    key = key.replace("+", ".")
    moment = f"{round(since * 1000)}.{set_backs}" if set_backs else str(round(since * 1000))
    name = ".".join(part for part in (rule, key, moment) if part)
    return name if len(name) <= MAX_ID_CHARACTERS else f"{rule}.{zlib.crc32(key.encode()):08x}.{moment}"


def _reported_case(case: Case) -> ReportedCase:
    objects = [
        IncidentObject(id=o.id, label=o.label, score=o.score, box=tuple(round(v, 4) for v in o.box))  # type: ignore[arg-type]
        for o in case.objects
    ]
    return ReportedCase(objects, case.value, case.direction)


def _first_and_last(segments: list[SegmentRef]) -> list[SegmentRef]:
    return (
        segments
        if len(segments) <= MAX_FIRST_SEGMENTS + MAX_LAST_SEGMENTS
        else [*segments[:MAX_FIRST_SEGMENTS], *segments[-MAX_LAST_SEGMENTS:]]
    )
