"""Compare live results with revised ones: incidents of one side only, and minutes that differ. Pure.

    comparison = Comparison(state, near_s=lambda rule: 5.0)
    comparison.note(live_outs, second_outs, now)        # both sides' results of the same segments
    for finding in comparison.findings(now): ...        # known differences

Two incidents are the same if rule, direction and kind of object agree, and their times are near. A lasting incident may
match several consecutive ones of the other side, if an object was lost in between. But it is one object: two incidents
at the same time never match one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from services.analytics.camera.statements import Out, Outs
from services.analytics.second_pass.state import (
    MAX_COMPARED,
    MAX_NEAR_S,
    NEAR_S,
    ComparisonState,
    FoundIncident,
    FoundMinute,
    FoundPart,
    second_pass_id,
)
from services.analytics.tracking.counts import MINUTE_S
from services.analytics.tracking.tracker import group_of
from shared.contract import rules
from shared.contract.events import Counts, Incident

# A moment happens once: it matches only one incident of the other side.
_MOMENTARY = {str(kind.__struct_config__.tag) for kind in (rules.Crossing, rules.Exit)}


class LateIncident(NamedTuple):
    """An incident that only the second pass finds. events: its events so far, the first of them its start."""

    events: list[Incident]


class MoreOfIncident(NamedTuple):
    """A later event of the second pass about an incident. The receiver knows whether the incident was published
    late.
    """

    event: Incident


class FalseAlarm(NamedTuple):
    """A live incident that the second pass does not find. event: its last live event."""

    event: Incident


class RevisedMinute(NamedTuple):
    """A minute's counts that differ from those published live."""

    out: Out


Finding = LateIncident | MoreOfIncident | FalseAlarm | RevisedMinute


class Comparison:
    """See the module. near_s: of a rule, by its id."""

    def __init__(self, state: ComparisonState, near_s: Callable[[str], float]) -> None:
        self._s = state
        self._near_s = near_s

    def add_common(self, incident: Incident, now: float) -> None:
        """Record an incident that both sides start with."""
        for side in (self._s.live, self._s.second_pass):
            side[incident.incident] = FoundIncident(incident, now, same=[incident.incident], judged=True)

    def note(self, live: Outs, second: Outs, now: float) -> Iterator[Finding]:
        """Record both sides' results at a time of the video's clock; yield further events of late incidents."""
        self._s.now = now
        for out in live:
            if type(out.what) is Incident:
                self._note_live(out.what, now)
            elif isinstance(out.what, Counts):
                self._minute(out.what).live.append(FoundPart(out.what, out.id, now))
        for out in second:
            if type(out.what) is Incident:
                yield from self._note_second(out.what, now)
            elif isinstance(out.what, Counts):
                self._minute(out.what).second_pass.append(FoundPart(out.what, out.id, now))

    def findings(self, now: float) -> Iterator[Finding]:
        """Yield differences known at a time of the video's clock; infinity if nothing more comes."""
        while (found := self._next(now)) is not None:
            yield from self._judge(found)
        for number, minute in list(self._s.minutes.items()):
            yield from self._compare(minute, now)
            if not (minute.live or minute.second_pass):
                del self._s.minutes[number]
        for side in (self._s.live, self._s.second_pass):
            for id in [
                id for id, found in side.items() if found.judged and now > found.until + self._retention_s(found)
            ]:
                del side[id]

    # ---- incidents

    def _note_live(self, incident: Incident, now: float) -> None:
        if found := self._s.live.get(incident.incident):
            found.incident = incident
            found.until = now if incident.end is not None else found.until
        elif incident.state == "start" and len(self._s.live) < MAX_COMPARED:
            self._s.live[incident.incident] = FoundIncident(incident, now)

    def _note_second(self, incident: Incident, now: float) -> Iterator[Finding]:
        found = self._s.second_pass.get(incident.incident)
        if found is None and incident.state == "start" and len(self._s.second_pass) < MAX_COMPARED:
            found = self._s.second_pass[incident.incident] = FoundIncident(incident, now)
        if found is None:
            return
        found.incident = incident
        found.until = now if incident.end is not None else found.until
        if not found.judged:
            found.pending_events.append(incident)
        elif found.is_unmatched:
            yield MoreOfIncident(incident)

    def _next(self, now: float) -> FoundIncident | None:
        """Return the first incident whose counterpart would have come up by now."""
        ready = [
            (found.seen_at, side is self._s.second_pass, id, found)
            for side in (self._s.live, self._s.second_pass)
            for id, found in side.items()
            if not found.judged and now >= found.seen_at + 2 * self._near(found)
        ]
        return min(ready, key=lambda r: r[:3])[3] if ready else None

    def _judge(self, found: FoundIncident) -> Iterator[Finding]:
        own = self._s.second_pass if found is self._s.second_pass.get(found.incident.incident) else self._s.live
        other = self._s.live if own is self._s.second_pass else self._s.second_pass
        # A published false alarm is final: a similar incident is published separately.
        like = [
            o
            for o in other.values()
            if self._may_be(found, o)
            and not self._is_taken(o, found, own)
            and not (o.is_unmatched and other is self._s.live)
        ]
        found.judged, events, found.pending_events = True, found.pending_events, []
        if like:
            best = min(like, key=lambda o: self._distance(found, o))
            found.same.append(best.incident.incident)
            best.same.append(found.incident.incident)
            best.judged, best.pending_events = True, []
            return
        found.is_unmatched = True
        if own is self._s.second_pass:
            yield LateIncident(events)
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
        """Whether `other` already matches an incident of `side` that can't be the same as `by`."""
        matches = [side[id] for id in other.same if id in side and side[id] is not by]
        if by.incident.condition in _MOMENTARY:
            return bool(other.same)
        return any(_apart_s(by, match) <= 0 for match in matches)

    def _distance(self, a: FoundIncident, b: FoundIncident) -> tuple[bool, float, str]:
        apart = abs((a.incident.start - b.incident.start).total_seconds())
        return a.incident.incident != b.incident.incident, apart, b.incident.incident

    def _near(self, found: FoundIncident) -> float:
        return min(MAX_NEAR_S, max(NEAR_S, self._near_s(found.incident.rule)))

    def _retention_s(self, found: FoundIncident) -> float:
        """Return how long a similar incident may still come up."""
        return 4 * self._near(found)

    # ---- minutes

    def _minute(self, counts: Counts) -> FoundMinute:
        number = round(counts.start.timestamp() / MINUTE_S)
        return self._s.minutes.setdefault(number, FoundMinute())

    def _compare(self, minute: FoundMinute, now: float) -> Iterator[Finding]:
        """Pair the parts of a minute in their order, and yield those that differ."""
        while minute.live or minute.second_pass:
            if not (minute.live and minute.second_pass):
                (alone, *_) = minute.live or minute.second_pass
                if now < alone.seen_at + 2 * NEAR_S:
                    return
            live = minute.live.pop(0) if minute.live else None
            second = minute.second_pass.pop(0) if minute.second_pass else None
            if live is None:
                assert second
                yield RevisedMinute(Out(second.counts, second_pass_id(second.id)))
            elif second is None:
                yield RevisedMinute(Out(_none(live), second_pass_id(f"{live.id}/none")))
            elif live.counts != second.counts:
                counts = msgspec.structs.replace(second.counts, revises=live.id)
                yield RevisedMinute(Out(counts, second_pass_id(second.id)))


def _none(part: FoundPart) -> Counts:
    """Return empty counts that revise a part."""
    heat = msgspec.structs.replace(part.counts.heat, seconds=[0.0] * len(part.counts.heat.seconds))
    return msgspec.structs.replace(part.counts, seconds=0.0, labels={}, zones={}, lines={}, heat=heat, revises=part.id)


def _span(found: FoundIncident) -> tuple[float, float]:
    """Return start and end of an incident; its rule kind decides whether it is a moment."""
    start = found.incident.start.timestamp()
    if found.incident.condition in _MOMENTARY:
        return start, start
    return start, found.incident.end.timestamp() if found.incident.end else math.inf


def _apart_s(a: FoundIncident, b: FoundIncident) -> float:
    """Return the seconds between two; negative if both last at the same time."""
    (a_start, a_end), (b_start, b_end) = _span(a), _span(b)
    return max(a_start, b_start) - min(a_end, b_end)
