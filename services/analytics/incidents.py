"""From what is true at a frame to incidents: held, begun, kept up, ended, and what comes of their verification. Pure.

State is plain data, kept by rule and key (`Standing`) and by incident that waits for a verdict (`AskedIncident`).
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec

from services.analytics.conditions import Case, Cases
from services.analytics.rules import Rule
from shared.contract import jobs
from shared.contract.events import Alert, Incident, IncidentObject, SegmentRef, Snapshot, Verdict

# Before it is held for true, there may be a moment in which it shows.
LEAD_S = 1.0
# Of a long incident: so many of its first segments, and of its last; of the others each is told of in EVENTS anyway.
FIRST, LAST = 30, 30
# What a model is asked to look at.
MOST_ASKED = 12
MOST_OBJECTS = 50
LONGEST_NAME = 128
# Of those that join it, an incident tells so often.
UPDATE_S = 5.0
# Of a camera that wait for a verdict, and of a rule that last: a state has to fit into a checkpoint.
MOST_WAITING, MOST_LASTING = 200, 100
# After its deadline a verdict still counts, for as long as VLM keeps jobs.
KEPT_S = 3600.0


class Ref(msgspec.Struct, array_like=True):
    """A segment that was analysed. start, end: Unix seconds."""

    stream: str
    seq: int
    epoch: str
    n: int
    start: float
    end: float


class Finding(msgspec.Struct):
    """A case, as it is to be told."""

    objects: list[IncidentObject]
    value: float | None
    direction: Literal["in", "out"] | None


class Open(msgspec.Struct):
    """An incident that lasts. told: when its last event was. joined: whether more have joined since."""

    incident: Incident
    told: float
    joined: bool = False


class Standing(msgspec.Struct):
    """A rule is true for a key: since, and last, Unix seconds of video. found: at last. open: once it is an incident.

    kept_back: whether a cooldown has been counted for it.
    """

    since: float
    last: float
    found: Finding
    kept_back: bool = False
    open: Open | None = None


class RuleState(msgspec.Struct):
    """begun: when its last incident was. about: what kind of rule it is, and of what place."""

    standing: dict[str, Standing] = {}
    begun: float | None = None
    about: str = ""


class AskedIncident(msgspec.Struct):
    """An incident whose verification was asked for. deadline: by the log's clock. alert: as its rule says.

    alerted: whether it has been an alert.
    """

    incident: Incident
    deadline: float
    alert: str
    unverified: bool = False
    alerted: bool = False


class IncidentsState(msgspec.Struct):
    """Of a camera. by_rule: by its id. asked: by the incident's. set_backs: of its clock."""

    by_rule: dict[str, RuleState] = {}
    asked: dict[str, AskedIncident] = {}
    set_backs: int = 0


class Incidents:
    """What one camera's rules have made of it. suppressed: how many a cooldown has kept back.

    trail: the camera's last segments, oldest first.
    """

    def __init__(self, camera: str, verify_s: float, state: IncidentsState | None = None) -> None:
        self.state = state or IncidentsState()
        self.suppressed = 0
        self._camera = camera
        self._verify_s = verify_s
        self._out: list[Incident | jobs.Verify] = []

    def take(self) -> list[Incident | jobs.Verify]:
        """What has come of it since it was last asked."""
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
        """What is true of `rule` at this frame. time: the frame's. at: the log's clock.

        left: keys of which it was true until a time before. undone: keys of moments that are no longer held for true.
        final: no frame comes after this: moments are held no longer.
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
            # A moment that has passed is still true.
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
        """It has been true for long enough: an incident, unless a cooldown, or too many others, keep it back."""
        known = state.standing[key]
        lasting = sum(s.open is not None for s in state.standing.values())
        if lasting < MOST_LASTING and (state.begun is None or time - state.begun >= rule.cooldown_s):
            state.begun = time
            self._begin(rule, key, known, trail, at)
            return
        self.suppressed += not known.kept_back
        known.kept_back = True
        if rule.momentary:
            del state.standing[key]

    def end_all(self, keep: Iterable[str] = ()) -> None:
        """No more video, or rules that are gone: what lasts has ended when it was last true."""
        kept = set(keep)
        for id, state in list(self.state.by_rule.items()):
            if id in kept:
                continue
            for key in list(state.standing):
                if state.standing[key].open:
                    self._end(state, key)
            state.standing.clear()

    def begin_anew(self) -> None:
        """The clock was set back: what lasts has ended, and no cooldown is counted any more."""
        self.end_all()
        self.state.set_backs += 1
        for state in self.state.by_rule.values():
            state.begun = None

    def forget(self, rules: Iterable[str]) -> None:
        """Of rules that are no longer there."""
        for id in set(self.state.by_rule) - set(rules):
            del self.state.by_rule[id]

    def verdict(self, said: Verdict) -> None:
        """What the model said joins the incident it was asked about, whether that still lasts or not."""
        asked = self.state.asked.pop(said.incident, None)
        if asked:
            self._judge(asked, said.verdict, confidence=said.confidence, reason=said.reason)

    def refused(self, incident: str) -> None:
        """The model can't be asked about it."""
        asked = self.state.asked.get(incident)
        if asked and not asked.unverified:
            asked.unverified = True
            self._judge(asked, "unverified", reason="vlm takes no more questions")

    def deadline(self) -> float | None:
        """When the next verdict is overdue, or forgotten, by the log's clock."""
        return min((a.deadline + KEPT_S * a.unverified for a in self.state.asked.values()), default=None)

    def due(self, at: float) -> None:
        """Without a verdict until now it is unverified; a later one still joins."""
        for id, asked in list(self.state.asked.items()):
            if asked.unverified and asked.deadline + KEPT_S <= at:
                del self.state.asked[id]
            elif not asked.unverified and asked.deadline <= at:
                asked.unverified = True
                self._judge(asked, "unverified", reason=f"no verdict within {self._verify_s:g} s")

    def _begin(self, rule: Rule, key: str, known: Standing, trail: Sequence[Ref], at: float) -> None:
        evidence = [r for r in trail if r.end > known.since - LEAD_S] or [trail[-1]]
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
            objects=known.found.objects[:MOST_OBJECTS],
            segments=_ends([_reference(r) for r in evidence]),
            snapshot=Snapshot(stream=last.stream, seq=last.seq, time=instant(known.last)),
            verification="pending" if rule.verify else "none",
        )
        known.open = Open(incident, known.last)
        self._out.append(incident)
        if rule.alert == "start":
            self._alert(incident)
        if rule.verify:
            while len(self.state.asked) >= MOST_WAITING:
                # Of which an answer is hardly awaited any more, if there is one.
                overdue = (i for i, a in self.state.asked.items() if a.unverified)
                oldest = self.state.asked.pop(next(overdue, next(iter(self.state.asked))))
                if not oldest.unverified:
                    self._judge(oldest, "unverified", reason=f"{MOST_WAITING} others wait for a verdict")
            self.state.asked[id] = AskedIncident(incident, at + self._verify_s, rule.alert)
            self._out.append(_verify(rule, incident, rule.verify, evidence))

    def _keep_up(self, open: Open, known: Standing, trail: Sequence[Ref]) -> None:
        was = open.incident
        segments = list(was.segments)
        last = trail[-1]
        if (segments[-1].epoch, segments[-1].n) != (last.epoch, last.n):
            segments = _ends([*segments, _reference(last)])
        before = {o.id: o for o in was.objects}
        objects = dict(islice((before | {o.id: o for o in known.found.objects}).items(), MOST_OBJECTS))
        open.joined |= objects.keys() != before.keys()
        open.incident = replace(
            was,
            state="update",
            time=instant(known.last),
            value=known.found.value,
            objects=list(objects.values()),
            segments=segments,
        )
        if open.joined and known.last - open.told >= UPDATE_S:
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
        """The verdict, in an update; and in what the incident says from now on."""
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
    """An incident's id, which has to be one of a job: two objects of a rule with a long name are told by a number.

    set_backs: what tells a moment from the same one, after the clock was set back.
    """
    key = key.replace("+", ".")
    moment = f"{round(since * 1000)}.{set_backs}" if set_backs else str(round(since * 1000))
    name = ".".join(part for part in (rule, key, moment) if part)
    return name if len(name) <= LONGEST_NAME else f"{rule}.{zlib.crc32(key.encode()):08x}.{moment}"


def _found(case: Case) -> Finding:
    objects = [
        IncidentObject(id=o.id, label=o.label, score=o.score, box=tuple(round(v, 4) for v in o.box))  # type: ignore[arg-type]
        for o in case.objects
    ]
    return Finding(objects, case.value, case.direction)


def _reference(ref: Ref) -> SegmentRef:
    return SegmentRef(stream=ref.stream, seq=ref.seq, epoch=ref.epoch, n=ref.n)


def _ends(segments: list[SegmentRef]) -> list[SegmentRef]:
    return segments if len(segments) <= FIRST + LAST else [*segments[:FIRST], *segments[-LAST:]]


def _verify(rule: Rule, incident: Incident, prompt: str, evidence: Sequence[Ref]) -> jobs.Verify:
    count = min(MOST_ASKED, len(evidence))
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
