"""Incidents from rules that are true at a frame: begin, update, end and verify them. Pure.

State is plain data: true rules, by rule and key (`Standing`), and incidents without a verdict (`PendingVerification`).
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec

from services.analytics.rules.conditions import Case, Cases
from services.analytics.tracking.objects import instant
from shared.contract import jobs
from shared.contract.events import Alert, Incident, IncidentObject, SegmentRef, Snapshot, Verdict
from shared.contract.rules import Rule

# Bounds that keep a camera's state small enough for a checkpoint, and an incident for an event; chosen by hand.

# Evidence begins this long before a rule became true: the cause may show then.
EVIDENCE_LEAD_S = 1.0
# A long incident names this many of its first segments.
MAX_FIRST_SEGMENTS = 30
# A long incident names this many of its last segments; other events in EVENTS name the rest.
MAX_LAST_SEGMENTS = 30
# A model receives at most this many segments.
MAX_MODEL_SEGMENTS = 12
# An incident names this many objects at most.
MAX_OBJECTS = 50
# An incident's id has at most this many characters: it becomes a part of a subject.
MAX_ID_CHARACTERS = 128
# When objects join an incident, updates are at least this far apart.
UPDATE_S = 5.0
# At most this many incidents of a camera wait for a verdict; no more are requested.
MAX_WAITING = 200
# At most this many incidents of a rule last at the same time.
MAX_LASTING = 100
# A verdict still counts for this long after its deadline: VLM keeps jobs equally long.
VERDICT_GRACE_S = 3600.0


class Ref(msgspec.Struct, array_like=True):
    """A segment that was analysed. start, end: Unix seconds."""

    stream: str
    seq: int
    epoch: str
    n: int
    start: float
    end: float


class ReportedCase(msgspec.Struct):
    """A case, in the form that events report."""

    objects: list[IncidentObject]
    value: float | None
    direction: Literal["in", "out"] | None


class Open(msgspec.Struct):
    """A lasting incident. last_event_time: of its last event. joined: whether more objects have joined since."""

    incident: Incident
    last_event_time: float = msgspec.field(name="told")
    joined: bool = False


class Standing(msgspec.Struct):
    """A rule that is true for a key. since, last: when it became true and was last true, Unix seconds of video.

    case: the case at `last`. is_suppressed: whether it is counted as suppressed. open: the incident, once it has begun.
    """

    since: float
    last: float
    case: ReportedCase = msgspec.field(name="found")
    is_suppressed: bool = msgspec.field(default=False, name="kept_back")
    open: Open | None = None


class RuleState(msgspec.Struct):
    """The state of a rule. last_start: when its last incident began. about: its kind, and its zone or line."""

    standing: dict[str, Standing] = {}
    last_start: float | None = msgspec.field(default=None, name="begun")
    about: str = ""


class PendingVerification(msgspec.Struct):
    """An incident whose verification was requested. deadline: by the log's clock. alert: when it becomes one.

    unverified: whether the deadline has passed. alerted: whether it has been an alert.
    """

    incident: Incident
    deadline: float
    alert: str
    unverified: bool = False
    alerted: bool = False


class IncidentsState(msgspec.Struct):
    """The incidents' state of a camera. by_rule: by the rule's id. pending: by the incident's id.

    set_backs: number of times that its clock was set back.
    """

    by_rule: dict[str, RuleState] = {}
    pending: dict[str, PendingVerification] = msgspec.field(default_factory=dict, name="asked")
    set_backs: int = 0


class Incidents:
    """One camera's incidents. suppressed: number of incidents suppressed by a cooldown or a bound.

    In methods, trail: the camera's last segments, oldest first.
    """

    def __init__(self, camera: str, verify_s: float, state: IncidentsState | None = None) -> None:
        self.state = state or IncidentsState()
        self.suppressed = 0
        self._camera = camera
        self._verify_s = verify_s
        self._out: list[Incident | jobs.Verify] = []

    def take(self) -> list[Incident | jobs.Verify]:
        """Return the new incidents, alerts and verification requests since the last call."""
        out, self._out = self._out, []
        return out

    def judge(
        self,
        rule: Rule,
        cases: Cases,
        time: float,
        trail: Sequence[Ref],
        at: float,
        *,
        left: Mapping[str, float] | None = None,
        undone: Collection[str] = (),
        final: bool = False,
    ) -> None:
        """Apply the cases in which `rule` is true at a frame. time: the frame's. at: the log's clock.

        left: keys whose case ended at an earlier time. undone: keys of moments that no longer count. final: no frame
        follows, so that moments need not last `hold_s`.
        """
        about = f"{type(rule).__struct_config__.tag} {getattr(rule, 'zone', '')} {getattr(rule, 'line', '')}"
        if (previous := self.state.by_rule.get(rule.id)) and previous.about != about:
            self.end_all(keep=self.state.by_rule.keys() - {rule.id})
            del self.state.by_rule[rule.id]
        state = self.state.by_rule.setdefault(rule.id, RuleState(about=about))
        for key in undone:
            if (standing := state.standing.get(key)) and standing.open is None:
                del state.standing[key]
        for key, case in cases.items():
            found = _reported_case(case)
            since = time if case.since is None else case.since
            standing = state.standing.setdefault(key, Standing(since, time, found))
            standing.last, standing.case = time, found
            if standing.open:
                self._keep_up(standing.open, standing, trail)
        for key, until in (left or {}).items():
            if (standing := state.standing.get(key)) and not rule.momentary:
                standing.last = max(standing.since, min(standing.last, until))
        for key, standing in list(state.standing.items()):
            # A moment stays true after it has passed.
            is_true = key in cases or (rule.momentary and standing.open is None)
            if not is_true and standing.open is None:
                del state.standing[key]
            elif standing.open and not is_true and time - standing.last >= rule.end_after_s:
                self._end(state, key)
            elif standing.open is None and (
                final or (time if rule.momentary else standing.last) - standing.since >= rule.hold_s
            ):
                self._raise(rule, state, key, time, trail, at)

    def _raise(self, rule: Rule, state: RuleState, key: str, time: float, trail: Sequence[Ref], at: float) -> None:
        """Begin an incident, as a rule was true for long enough, unless a cooldown or too many others suppress it."""
        standing = state.standing[key]
        open_count = sum(s.open is not None for s in state.standing.values())
        if open_count < MAX_LASTING and (state.last_start is None or time - state.last_start >= rule.cooldown_s):
            state.last_start = time
            self._begin(rule, key, standing, trail, at)
            return
        self.suppressed += not standing.is_suppressed
        standing.is_suppressed = True
        if rule.momentary:
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

    def verdict(self, verdict: Verdict) -> None:
        """Add the model's verdict to its incident, whether that still lasts or not."""
        pending = self.state.pending.pop(verdict.incident, None)
        if pending:
            self._judge(pending, verdict.verdict, confidence=verdict.confidence, reason=verdict.reason)

    def refused(self, incident: str) -> None:
        """Mark an incident unverified: the model can't answer."""
        pending = self.state.pending.get(incident)
        if pending and not pending.unverified:
            pending.unverified = True
            self._judge(pending, "unverified", reason="vlm takes no more questions")

    def deadline(self) -> float | None:
        """Return when the next verdict becomes overdue, or finally expires, by the log's clock."""
        return min((a.deadline + VERDICT_GRACE_S * a.unverified for a in self.state.pending.values()), default=None)

    def due(self, at: float) -> None:
        """Mark incidents without a verdict by their deadline as unverified.

        A later verdict still counts for VERDICT_GRACE_S.
        """
        for id, pending in list(self.state.pending.items()):
            if pending.unverified and pending.deadline + VERDICT_GRACE_S <= at:
                del self.state.pending[id]
            elif not pending.unverified and pending.deadline <= at:
                pending.unverified = True
                self._judge(pending, "unverified", reason=f"no verdict within {self._verify_s:g} s")

    def _begin(self, rule: Rule, key: str, standing: Standing, trail: Sequence[Ref], at: float) -> None:
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
            segments=_first_and_last([_reference(r) for r in evidence]),
            snapshot=Snapshot(stream=last.stream, seq=last.seq, time=instant(standing.last)),
            verification="pending" if rule.verify else "none",
        )
        standing.open = Open(incident, standing.last)
        self.announce(rule, incident, evidence, at)

    def announce(self, rule: Rule, incident: Incident, evidence: Sequence[Ref], at: float) -> None:
        """Publish that an incident has begun; request verification and alert, as its rule says. at: the log's clock."""
        id = incident.incident
        pending = PendingVerification(incident, at + self._verify_s, rule.alerts)
        may_ask = rule.verify is not None and self._has_room()
        if rule.verify is not None and may_ask:
            self.state.pending[id] = pending
            # The request comes first: an incident that has begun is known to have been requested.
            self._out.append(_verify(rule, incident, rule.verify, evidence))
        self._out.append(incident)
        if rule.alert == "start":
            self._alert(incident)
        if rule.verify is not None and not may_ask:
            # One more request would wait behind those, and take the room of other cameras' requests.
            self._judge(pending, "unverified", reason=f"{MAX_WAITING} others wait for a verdict")

    def _has_room(self) -> bool:
        """Whether one more may wait for a verdict. Those whose deadline has passed give way."""
        while len(self.state.pending) >= MAX_WAITING:
            overdue = next((id for id, pending in self.state.pending.items() if pending.unverified), None)
            if overdue is None:
                return False
            del self.state.pending[overdue]
        return True

    def _keep_up(self, open: Open, standing: Standing, trail: Sequence[Ref]) -> None:
        previous = open.incident
        segments = list(previous.segments)
        last = trail[-1]
        if (segments[-1].epoch, segments[-1].n) != (last.epoch, last.n):
            segments = _first_and_last([*segments, _reference(last)])
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
            self._out.append(open.incident)

    def _end(self, state: RuleState, key: str) -> None:
        standing = state.standing.pop(key)
        assert standing.open
        last = instant(standing.last)
        ended = replace(standing.open.incident, state="end", end=last, time=last)
        self._out.append(ended)
        if pending := self.state.pending.get(ended.incident):
            pending.incident = ended

    def _judge(self, pending: PendingVerification, verification: Any, **more: Any) -> None:
        """Publish the verification in an update, and in all later events of the incident."""
        lasting = next(
            (
                s.open
                for r in self.state.by_rule.values()
                for s in r.standing.values()
                if s.open and s.open.incident.incident == pending.incident.incident
            ),
            None,
        )
        current = lasting.incident if lasting else pending.incident
        judged = replace(current, state="update", verification=verification, **more)
        if lasting:
            lasting.incident = judged
        self._out.append(judged)
        pending.incident = judged
        alerting = {
            "confirmed": ("confirmed",),
            "unless_rejected": ("confirmed", "uncertain", "unverified"),
            "start": (),
        }
        if verification in alerting[pending.alert] and not pending.alerted:
            pending.alerted = True
            self._alert(judged)

    def _alert(self, incident: Incident) -> None:
        fields = {f: getattr(incident, f) for f in incident.__struct_fields__}
        self._out.append(Alert(**fields))


def replace(incident: Incident, **changes: Any) -> Incident:
    return msgspec.structs.replace(incident, **changes)


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


def _reference(ref: Ref) -> SegmentRef:
    return SegmentRef(stream=ref.stream, seq=ref.seq, epoch=ref.epoch, n=ref.n)


def _first_and_last(segments: list[SegmentRef]) -> list[SegmentRef]:
    return (
        segments
        if len(segments) <= MAX_FIRST_SEGMENTS + MAX_LAST_SEGMENTS
        else [*segments[:MAX_FIRST_SEGMENTS], *segments[-MAX_LAST_SEGMENTS:]]
    )


def _verify(rule: Rule, incident: Incident, prompt: str, evidence: Sequence[Ref]) -> jobs.Verify:
    count = min(MAX_MODEL_SEGMENTS, len(evidence))
    chosen = [evidence[round(i * (len(evidence) - 1) / max(1, count - 1))] for i in range(count)]
    return jobs.Verify(
        camera=incident.camera,
        incident=incident.incident,
        prompt=prompt,
        segments=[r.seq for r in chosen],
        rule=rule.id,
        start=instant(chosen[0].start),
        end=instant(max(chosen[-1].end, chosen[0].start + 0.001)),
    )
