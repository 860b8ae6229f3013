"""What was said live beside what is so: incidents of one side alone, and minutes that differ. Pure.

    comparison = Comparison(state, near_s=lambda rule: 5.0)
    comparison.note(live_outs, settled_outs, now)       # what both sides say of the same segments
    for told in comparison.judged(now): ...             # what is known to differ

Two incidents are the same where rule, direction and kind of object agree, and their times are near. One that lasts may
be the same as several of the other side that follow each other, as where an object was lost in between; but it is one
object, and never two at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from services.analytics.counts import MINUTE_S
from services.analytics.second_pass.state import (
    TUNING,
    ComparisonState,
    FoundIncident,
    FoundMinute,
    FoundPart,
    second_pass_id,
)
from services.analytics.statements import Out, Outs
from services.analytics.tracker import group_of
from shared.contract import rules
from shared.contract.events import Counts, Incident

# What is true at a moment has happened once: it stands for one incident of the other side.
_MOMENTARY = {str(kind.__struct_config__.tag) for kind in (rules.Crossing, rules.Exit)}


class LateIncident(NamedTuple):
    """Only the second pass finds it. events: what there is to say of it so far, the first of them its start."""

    events: list[Incident]


class MoreOfIncident(NamedTuple):
    """What the second pass says of an incident after its start: whether it was told late is for others to know."""

    event: Incident


class FalseAlarm(NamedTuple):
    """It was said live, and the second pass does not find it. event: what was said of it last."""

    event: Incident


class RevisedMinute(NamedTuple):
    """A minute's counts that are not as they were said."""

    out: Out


Told = LateIncident | MoreOfIncident | FalseAlarm | RevisedMinute


class Comparison:
    """See the module. near_s: of a rule, by its id."""

    def __init__(self, state: ComparisonState, near_s: Callable[[str], float]) -> None:
        self._s = state
        self._near_s = near_s

    def known(self, incident: Incident, now: float) -> None:
        """An incident that both sides have begun with."""
        for side in (self._s.live, self._s.settled):
            side[incident.incident] = FoundIncident(incident, now, same=[incident.incident], judged=True)

    def note(self, live: Outs, settled: Outs, now: float) -> Iterator[Told]:
        """Take what both sides say at a time of the video's clock; what more there is to say of late incidents."""
        self._s.now = now
        for out in live:
            if type(out.what) is Incident:
                self._note_live(out.what, now)
            elif isinstance(out.what, Counts):
                self._minute(out.what).live.append(FoundPart(out.what, out.id, now))
        for out in settled:
            if type(out.what) is Incident:
                yield from self._note_settled(out.what, now)
            elif isinstance(out.what, Counts):
                self._minute(out.what).settled.append(FoundPart(out.what, out.id, now))

    def judged(self, now: float) -> Iterator[Told]:
        """What is known to differ at a time of the video's clock; infinity where nothing more comes."""
        while (found := self._next(now)) is not None:
            yield from self._judge(found)
        for number, minute in list(self._s.minutes.items()):
            yield from self._compare(minute, now)
            if not (minute.live or minute.settled):
                del self._s.minutes[number]
        for side in (self._s.live, self._s.settled):
            for id in [id for id, found in side.items() if found.judged and now > found.until + self._kept_s(found)]:
                del side[id]

    # ---- incidents

    def _note_live(self, incident: Incident, now: float) -> None:
        if found := self._s.live.get(incident.incident):
            found.incident = incident
            found.until = now if incident.end is not None else found.until
        elif incident.state == "start" and len(self._s.live) < TUNING.most_compared:
            self._s.live[incident.incident] = FoundIncident(incident, now)

    def _note_settled(self, incident: Incident, now: float) -> Iterator[Told]:
        found = self._s.settled.get(incident.incident)
        if found is None and incident.state == "start" and len(self._s.settled) < TUNING.most_compared:
            found = self._s.settled[incident.incident] = FoundIncident(incident, now)
        if found is None:
            return
        found.incident = incident
        found.until = now if incident.end is not None else found.until
        if not found.judged:
            found.held.append(incident)
        elif found.alone:
            yield MoreOfIncident(incident)

    def _next(self, now: float) -> FoundIncident | None:
        """The incident that came up first of those whose like would have come up by now."""
        ready = [
            (found.seen, side is self._s.settled, id, found)
            for side in (self._s.live, self._s.settled)
            for id, found in side.items()
            if not found.judged and now >= found.seen + 2 * self._near(found)
        ]
        return min(ready, key=lambda r: r[:3])[3] if ready else None

    def _judge(self, found: FoundIncident) -> Iterator[Told]:
        mine = self._s.settled if found is self._s.settled.get(found.incident.incident) else self._s.live
        other = self._s.live if mine is self._s.settled else self._s.settled
        # What was told to be a false alarm stays one: what is like it is told beside it.
        like = [
            o
            for o in other.values()
            if self._may_be(found, o) and not self._is_taken(o, found, mine) and not (o.alone and other is self._s.live)
        ]
        found.judged, held, found.held = True, found.held, []
        if like:
            best = min(like, key=lambda o: self._distance(found, o))
            found.same.append(best.incident.incident)
            best.same.append(found.incident.incident)
            best.judged, best.held = True, []
            return
        found.alone = True
        if mine is self._s.settled:
            yield LateIncident(held)
        else:
            yield FalseAlarm(found.incident)

    def _may_be(self, a: FoundIncident, b: FoundIncident) -> bool:
        """Whether two of different sides may be the same."""
        if (a.incident.rule, a.incident.direction) != (b.incident.rule, b.incident.direction):
            return False
        kinds, others = ({group_of(o.label) for o in x.incident.objects} for x in (a, b))
        if kinds and others and not kinds & others:
            return False
        return _apart_s(a, b) <= self._near(a)

    def _is_taken(self, other: FoundIncident, by: FoundIncident, side: dict[str, FoundIncident]) -> bool:
        """Whether one of the other side is already the same as one of `side` that can't be `by` as well."""
        held = [side[id] for id in other.same if id in side and side[id] is not by]
        if by.incident.condition in _MOMENTARY:
            return bool(other.same)
        return any(_apart_s(by, one) <= 0 for one in held)

    def _distance(self, a: FoundIncident, b: FoundIncident) -> tuple[bool, float, str]:
        apart = abs((a.incident.start - b.incident.start).total_seconds())
        return a.incident.incident != b.incident.incident, apart, b.incident.incident

    def _near(self, found: FoundIncident) -> float:
        return min(TUNING.most_near_s, max(TUNING.near_s, self._near_s(found.incident.rule)))

    def _kept_s(self, found: FoundIncident) -> float:
        """Until nothing more comes up that it may be."""
        return 4 * self._near(found)

    # ---- minutes

    def _minute(self, counts: Counts) -> FoundMinute:
        number = round(counts.start.timestamp() / MINUTE_S)
        return self._s.minutes.setdefault(number, FoundMinute())

    def _compare(self, minute: FoundMinute, now: float) -> Iterator[Told]:
        """Pair the parts of a minute in their order, and say those that differ."""
        while minute.live or minute.settled:
            if not (minute.live and minute.settled):
                (alone, *_) = minute.live or minute.settled
                if now < alone.seen + 2 * TUNING.near_s:
                    return
            was = minute.live.pop(0) if minute.live else None
            is_so = minute.settled.pop(0) if minute.settled else None
            if was is None:
                assert is_so
                yield RevisedMinute(Out(is_so.counts, second_pass_id(is_so.id)))
            elif is_so is None:
                yield RevisedMinute(Out(_none(was), second_pass_id(f"{was.id}/none")))
            elif was.counts != is_so.counts:
                counts = msgspec.structs.replace(is_so.counts, revises=was.id)
                yield RevisedMinute(Out(counts, second_pass_id(is_so.id)))


def _none(part: FoundPart) -> Counts:
    """Nothing, in place of a part."""
    heat = msgspec.structs.replace(part.counts.heat, seconds=[0.0] * len(part.counts.heat.seconds))
    return msgspec.structs.replace(part.counts, seconds=0.0, labels={}, zones={}, lines={}, heat=heat, revises=part.id)


def _span(found: FoundIncident) -> tuple[float, float]:
    """From when to when it was, by what its rule names."""
    start = found.incident.start.timestamp()
    if found.incident.condition in _MOMENTARY:
        return start, start
    return start, found.incident.end.timestamp() if found.incident.end else math.inf


def _apart_s(a: FoundIncident, b: FoundIncident) -> float:
    """Seconds between two; negative where both last at the same time."""
    (a_start, a_end), (b_start, b_end) = _span(a), _span(b)
    return max(a_start, b_start) - min(a_end, b_end)
