"""From what is true at a frame to incidents: they are held, begun, kept up, ended and verified. Pure.

State is plain data: what is true, by rule and key (`Standing`), and what waits for a verdict (`AskedIncident`).
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec

from services.analytics.conditions import Case, Cases
from shared.contract import jobs
from shared.contract.events import Alert, Incident, IncidentObject, SegmentRef, Snapshot, Verdict
from shared.contract.rules import Rule


class IncidentsTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that keep a camera's state small enough for a checkpoint, and an incident for an event; chosen by hand."""

    lead_s: float = 1.0
    """Evidence begins this long before a rule came true: what led to it may show then."""

    first_segments: int = 30
    """A long incident names this many of its first segments."""

    last_segments: int = 30
    """A long incident names this many of its last segments; EVENTS tells of the others anyway."""

    most_asked: int = 12
    """A model is asked to look at this many segments at most."""

    most_objects: int = 50
    """An incident names this many objects at most."""

    longest_name: int = 128
    """An incident's id has this many characters at most: it becomes a part of a subject."""

    update_s: float = 5.0
    """An incident that more objects join is told again at most this often."""

    most_waiting: int = 200
    """At most this many incidents of a camera wait for a verdict, and no model is asked about more."""

    most_lasting: int = 100
    """At most this many incidents of a rule last at once."""

    kept_s: float = 3600.0
    """A verdict still counts for this long after its deadline: VLM keeps jobs for as long."""


TUNING = IncidentsTuning()


class Ref(msgspec.Struct, array_like=True):
    """A segment that was analysed. start, end: Unix seconds."""

    stream: str
    seq: int
    epoch: str
    n: int
    start: float
    end: float


class ToldCase(msgspec.Struct):
    """A case, as events tell it."""

    objects: list[IncidentObject]
    value: float | None
    direction: Literal["in", "out"] | None


class Open(msgspec.Struct):
    """An incident that lasts. told: when its last event was. joined: whether more objects have joined since."""

    incident: Incident
    told: float
    joined: bool = False


class Standing(msgspec.Struct):
    """A rule is true for a key. since, last: when it came true and was last true, Unix seconds of video.

    found: the case at `last`. kept_back: whether it is counted as suppressed. open: the incident, once it is one.
    """

    since: float
    last: float
    found: ToldCase
    kept_back: bool = False
    open: Open | None = None


class RuleState(msgspec.Struct):
    """What is known of a rule. begun: when its last incident began. about: its kind, and the place that it is about."""

    standing: dict[str, Standing] = {}
    begun: float | None = None
    about: str = ""


class AskedIncident(msgspec.Struct):
    """An incident whose verification was asked for. deadline: by the log's clock. alert: when it becomes one.

    unverified: whether the deadline has passed. alerted: whether it has been an alert.
    """

    incident: Incident
    deadline: float
    alert: str
    unverified: bool = False
    alerted: bool = False


class IncidentsState(msgspec.Struct):
    """What is known of a camera. by_rule: by the rule's id. asked: by the incident's id.

    set_backs: how often its clock was set back.
    """

    by_rule: dict[str, RuleState] = {}
    asked: dict[str, AskedIncident] = {}
    set_backs: int = 0


class Incidents:
    """What one camera's rules have made of it. suppressed: how many incidents were kept back, by a cooldown or a bound.

    In methods, trail: the camera's last segments, oldest first.
    """

    def __init__(self, camera: str, verify_s: float, state: IncidentsState | None = None) -> None:
        self.state = state or IncidentsState()
        self.suppressed = 0
        self._camera = camera
        self._verify_s = verify_s
        self._out: list[Incident | jobs.Verify] = []

    def take(self) -> list[Incident | jobs.Verify]:
        """The incidents, alerts and questions that are new since it was last asked."""
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
        """Take what is true of `rule` at a frame. time: the frame's. at: the log's clock.

        left: keys of which it was true only until an earlier time. undone: keys of moments that count no longer.
        final: no frame comes after this one, so that moments need not be held any longer.
        """
        about = f"{type(rule).__struct_config__.tag} {getattr(rule, 'zone', '')} {getattr(rule, 'line', '')}"
        if (known_as := self.state.by_rule.get(rule.id)) and known_as.about != about:
            self.end_all(keep=self.state.by_rule.keys() - {rule.id})
            del self.state.by_rule[rule.id]
        state = self.state.by_rule.setdefault(rule.id, RuleState(about=about))
        for key in undone:
            if (held := state.standing.get(key)) and held.open is None:
                del state.standing[key]
        for key, case in cases.items():
            found = _found(case)
            since = time if case.since is None else case.since
            known = state.standing.setdefault(key, Standing(since, time, found))
            known.last, known.found = time, found
            if known.open:
                self._keep_up(known.open, known, trail)
        for key, until in (left or {}).items():
            if (gone := state.standing.get(key)) and not rule.momentary:
                gone.last = max(gone.since, min(gone.last, until))
        for key, known in list(state.standing.items()):
            # A moment stays true after it has passed.
            true = key in cases or (rule.momentary and known.open is None)
            if not true and known.open is None:
                del state.standing[key]
            elif known.open and not true and time - known.last >= rule.end_after_s:
                self._end(state, key)
            elif known.open is None and (
                final or (time if rule.momentary else known.last) - known.since >= rule.hold_s
            ):
                self._raise(rule, state, key, time, trail, at)

    def _raise(self, rule: Rule, state: RuleState, key: str, time: float, trail: Sequence[Ref], at: float) -> None:
        """Begin an incident, as a rule was true for long enough; a cooldown, or too many others, may keep it back."""
        known = state.standing[key]
        lasting = sum(s.open is not None for s in state.standing.values())
        if lasting < TUNING.most_lasting and (state.begun is None or time - state.begun >= rule.cooldown_s):
            state.begun = time
            self._begin(rule, key, known, trail, at)
            return
        self.suppressed += not known.kept_back
        known.kept_back = True
        if rule.momentary:
            del state.standing[key]

    def end_all(self, keep: Iterable[str] = ()) -> None:
        """End what lasts at the time when it was last true, as no more of it is seen. keep: ids of rules that go on."""
        kept = set(keep)
        for id, state in list(self.state.by_rule.items()):
            if id in kept:
                continue
            for key in list(state.standing):
                if state.standing[key].open:
                    self._end(state, key)
            state.standing.clear()

    def begin_anew(self) -> None:
        """The clock was set back: end what lasts, and begin every cooldown anew."""
        self.end_all()
        self.state.set_backs += 1
        for state in self.state.by_rule.values():
            state.begun = None

    def forget(self, rules: Iterable[str]) -> None:
        """Forget rules that are not among these ids."""
        for id in set(self.state.by_rule) - set(rules):
            del self.state.by_rule[id]

    def verdict(self, said: Verdict) -> None:
        """The model's verdict joins the incident that it is about, whether that still lasts or not."""
        asked = self.state.asked.pop(said.incident, None)
        if asked:
            self._judge(asked, said.verdict, confidence=said.confidence, reason=said.reason)

    def refused(self, incident: str) -> None:
        """The model can't be asked about an incident: it is unverified."""
        asked = self.state.asked.get(incident)
        if asked and not asked.unverified:
            asked.unverified = True
            self._judge(asked, "unverified", reason="vlm takes no more questions")

    def deadline(self) -> float | None:
        """When the next verdict is overdue, or is waited for no longer, by the log's clock."""
        return min((a.deadline + TUNING.kept_s * a.unverified for a in self.state.asked.values()), default=None)

    def due(self, at: float) -> None:
        """What has no verdict by its deadline is unverified; a later one still joins, for `kept_s`."""
        for id, asked in list(self.state.asked.items()):
            if asked.unverified and asked.deadline + TUNING.kept_s <= at:
                del self.state.asked[id]
            elif not asked.unverified and asked.deadline <= at:
                asked.unverified = True
                self._judge(asked, "unverified", reason=f"no verdict within {self._verify_s:g} s")

    def _begin(self, rule: Rule, key: str, known: Standing, trail: Sequence[Ref], at: float) -> None:
        evidence = [r for r in trail if r.end > known.since - TUNING.lead_s] or [trail[-1]]
        id = _name(rule.id, key, known.since, self.state.set_backs)
        last = trail[-1]
        incident = Incident(
            camera=self._camera,
            incident=id,
            state="start",
            rule=rule.id,
            condition=str(type(rule).__struct_config__.tag),
            severity=rule.severity,
            start=instant(known.since),
            time=instant(known.last),
            zone=getattr(rule, "zone", None),
            line=getattr(rule, "line", None),
            direction=known.found.direction,
            value=known.found.value,
            objects=known.found.objects[: TUNING.most_objects],
            segments=_ends([_reference(r) for r in evidence]),
            snapshot=Snapshot(stream=last.stream, seq=last.seq, time=instant(known.last)),
            verification="pending" if rule.verify else "none",
        )
        known.open = Open(incident, known.last)
        self.tell(rule, incident, evidence, at)

    def tell(self, rule: Rule, incident: Incident, evidence: Sequence[Ref], at: float) -> None:
        """Say that an incident has begun; ask about it and alert, as its rule says. at: the log's clock."""
        id = incident.incident
        asked = AskedIncident(incident, at + self._verify_s, rule.alerts)
        may_ask = rule.verify is not None and self._has_room()
        if rule.verify is not None and may_ask:
            self.state.asked[id] = asked
            # The question comes first: of an incident that has begun it is known that it was asked.
            self._out.append(_verify(rule, incident, rule.verify, evidence))
        self._out.append(incident)
        if rule.alert == "start":
            self._alert(incident)
        if rule.verify is not None and not may_ask:
            # One more question would wait behind those, and take the room of other cameras'.
            self._judge(asked, "unverified", reason=f"{TUNING.most_waiting} others wait for a verdict")

    def _has_room(self) -> bool:
        """Whether one more may wait for a verdict. Those whose deadline has passed give way."""
        while len(self.state.asked) >= TUNING.most_waiting:
            overdue = next((id for id, asked in self.state.asked.items() if asked.unverified), None)
            if overdue is None:
                return False
            del self.state.asked[overdue]
        return True

    def _keep_up(self, open: Open, known: Standing, trail: Sequence[Ref]) -> None:
        was = open.incident
        segments = list(was.segments)
        last = trail[-1]
        if (segments[-1].epoch, segments[-1].n) != (last.epoch, last.n):
            segments = _ends([*segments, _reference(last)])
        before = {o.id: o for o in was.objects}
        objects = dict(islice((before | {o.id: o for o in known.found.objects}).items(), TUNING.most_objects))
        open.joined |= objects.keys() != before.keys()
        open.incident = replace(
            was,
            state="update",
            time=instant(known.last),
            value=known.found.value,
            objects=list(objects.values()),
            segments=segments,
        )
        if open.joined and known.last - open.told >= TUNING.update_s:
            open.joined, open.told = False, known.last
            self._out.append(open.incident)

    def _end(self, state: RuleState, key: str) -> None:
        known = state.standing.pop(key)
        assert known.open
        last = instant(known.last)
        ended = replace(known.open.incident, state="end", end=last, time=last)
        self._out.append(ended)
        if asked := self.state.asked.get(ended.incident):
            asked.incident = ended

    def _judge(self, asked: AskedIncident, said: Any, **more: Any) -> None:
        """Tell the verdict in an update, and in all that the incident says from now on. said: the verification."""
        lasting = next(
            (
                s.open
                for r in self.state.by_rule.values()
                for s in r.standing.values()
                if s.open and s.open.incident.incident == asked.incident.incident
            ),
            None,
        )
        known = lasting.incident if lasting else asked.incident
        judged = replace(known, state="update", verification=said, **more)
        if lasting:
            lasting.incident = judged
        self._out.append(judged)
        asked.incident = judged
        wanted = {"confirmed": ("confirmed",), "unless_rejected": ("confirmed", "uncertain", "unverified"), "start": ()}
        if said in wanted[asked.alert] and not asked.alerted:
            asked.alerted = True
            self._alert(judged)

    def _alert(self, incident: Incident) -> None:
        fields = {f: getattr(incident, f) for f in incident.__struct_fields__}
        self._out.append(Alert(**fields))


def replace(incident: Incident, **changes: Any) -> Incident:
    return msgspec.structs.replace(incident, **changes)


def instant(time: float) -> dt.datetime:
    """Unix seconds as UTC, to the millisecond."""
    return dt.datetime.fromtimestamp(round(time * 1000) / 1000, dt.UTC)


def _name(rule: str, key: str, since: float, set_backs: int) -> str:
    """An incident's id, which must also do as a job's: where it is too long, a checksum stands for the objects' ids.

    set_backs: tells a moment from the same one after the clock was set back.
    """
    key = key.replace("+", ".")
    moment = f"{round(since * 1000)}.{set_backs}" if set_backs else str(round(since * 1000))
    name = ".".join(part for part in (rule, key, moment) if part)
    return name if len(name) <= TUNING.longest_name else f"{rule}.{zlib.crc32(key.encode()):08x}.{moment}"


def _found(case: Case) -> ToldCase:
    objects = [
        IncidentObject(id=o.id, label=o.label, score=o.score, box=tuple(round(v, 4) for v in o.box))  # type: ignore[arg-type]
        for o in case.objects
    ]
    return ToldCase(objects, case.value, case.direction)


def _reference(ref: Ref) -> SegmentRef:
    return SegmentRef(stream=ref.stream, seq=ref.seq, epoch=ref.epoch, n=ref.n)


def _ends(segments: list[SegmentRef]) -> list[SegmentRef]:
    return (
        segments
        if len(segments) <= TUNING.first_segments + TUNING.last_segments
        else [*segments[: TUNING.first_segments], *segments[-TUNING.last_segments :]]
    )


def _verify(rule: Rule, incident: Incident, prompt: str, evidence: Sequence[Ref]) -> jobs.Verify:
    count = min(TUNING.most_asked, len(evidence))
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
