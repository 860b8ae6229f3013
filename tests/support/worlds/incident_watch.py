"""A person in a scene, the conditions of a rule, and incidents as they are published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from services.analytics.incidents.lifecycle import FrameContext, Incidents
from services.analytics.incidents.state import IncidentsState, Ref
from services.analytics.rules import conditions
from services.analytics.rules.conditions import Case, Evaluation, ObservedScene
from services.analytics.tracking import places
from services.analytics.tracking.objects import Box, FollowedObject
from services.analytics.tracking.places import Passage
from shared.contract.events import Incident, Timing, Usage, Verdict
from shared.contract.rules import AnyRule, Rules
from shared.contract.work import jobs
from tests.support.video.walking_people import START

ASPECT = 16 / 9
T = START.timestamp()
# The width and height of a standing object.
WIDTH, HEIGHT = 0.06, 0.2
# Nearer to a border than this it is where it was.
NEAR = HEIGHT / 20


def rule(kind: str, **fields: Any) -> AnyRule:
    found: AnyRule = msgspec.convert({"id": "r", "kind": kind, **fields}, AnyRule)
    return found


def box(x: float, y: float, width: float = WIDTH, height: float = HEIGHT) -> Box:
    """One whose feet are there."""
    return x - width / 2, y - height, x + width / 2, y


class Someone:
    """An object that is seen at one place after the other."""

    def __init__(self, book: Rules | None = None, id: str = "a", label: str = "person", begin: float = T) -> None:
        self.followed: FollowedObject | None = None
        self.passages: list[Passage] = []
        self._book, self._id, self._label, self._time = book or Rules(), id, label, begin

    def at(
        self, *spots: tuple[float, float], step: float = 0.25, size: tuple[float, float] = (WIDTH, HEIGHT)
    ) -> Someone:
        for x, y in spots:
            here = box(x, y, *size)
            before = places.Before(self.followed.last, self.followed.box) if self.followed else None
            if self.followed is None:
                time = self._time
                self.followed = FollowedObject(self._id, {}, 0.0, here, time, time, here, time)
            self.followed.see(self._time, here, self._label, 0.8)
            self.passages += places.find_passages(self.followed, before, self._book, ASPECT)
            self._time += step
        return self

    def seen(self) -> FollowedObject:
        assert self.followed
        return self.followed

    def passed(self) -> list[tuple[str, float]]:
        """(what, seconds since `T`)."""
        return [(p.what, round(p.time - T, 3)) for p in self.passages]


def book(**fields: Any) -> Rules:
    return msgspec.convert(fields, Rules)


DOOR = book(zones={"door": {"polygon": [[0.4, 0.3], [0.6, 0.3], [0.6, 0.95], [0.4, 0.95]]}})
# Going up.
GATE = book(lines={"gate": {"from": [0.5, 0.9], "to": [0.5, 0.5]}})
OUT, IN = (0.2, 0.7), (0.5, 0.7)
LEFT, RIGHT = (0.4, 0.7), (0.6, 0.7)


def scene(*there: Someone, time: float | None = None) -> ObservedScene:
    """As the last of them was seen."""
    objects = [s.seen() for s in there]
    passages = [p for s in there for p in s.passages]
    return ObservedScene(max(o.last for o in objects) if time is None else time, ASPECT, objects, passages)


def true(of: AnyRule, *there: Someone) -> dict[str, Case]:
    return dict(conditions.cases(of, scene(*there)))


def stands(x: float, y: float = 0.7, id: str = "a", label: str = "person", seconds: float = 1.0) -> Someone:
    return Someone(DOOR, id, label).at(*[(x, y)] * (round(seconds * 4) + 1))


def walks(dx: float, dy: float, id: str = "a", x: float = 0.5, y: float = 0.7) -> Someone:
    """So far in each of two seconds, in heights of the frame."""
    spots = [(x + dx * k / 4 / ASPECT, y + dy * k / 4) for k in range(9)]
    return Someone(DOOR, id).at(*spots)


def ref(n: int) -> Ref:
    return Ref("MEDIA", 100 + n, "e", n, T + n, T + n + 1)


class Watched(NamedTuple):
    time: float
    what: Incident | jobs.Verify


class Watch:
    """A rule at four frames a second; its segments are of one second, each stored as it ends."""

    def __init__(self, of: AnyRule, state: IncidentsState | None = None, tick: int = 0) -> None:
        self.rule = of
        self.incidents = Incidents("lobby", 60.0, state)
        self.tick = tick
        self.events: list[Watched] = []

    def see(self, frames: Iterable[Mapping[str, Case]]) -> Watch:
        for cases in frames:
            time = self.tick / 4
            trail = [ref(n) for n in range(int(time) + 1)]
            frame = FrameContext(T + time, T + int(time) + 1, trail)
            self.incidents.judge(self.rule, Evaluation(cases), frame)
            self._take()
            self.tick += 1
        return self

    def for_s(self, seconds: float, *ids: str) -> Watch:
        """Let the condition hold for each of these objects."""
        return self.see([{id: case(id) for id in ids}] * round(seconds * 4))

    def verdict(self, event: Verdict) -> Watch:
        self.incidents.verifications.verdict(event)
        return self._take()

    def until(self, at: float) -> Watch:
        """Pass all deadlines until then, by the clock of the log."""
        verifications = self.incidents.verifications
        while (deadline := verifications.deadline()) is not None and deadline <= T + at:
            verifications.due(deadline)
            after = verifications.deadline()
            assert after is None or after > deadline
            self._take()
        return self

    def _take(self) -> Watch:
        self.events += [Watched(self.tick / 4, what) for what in self.incidents.verifications.take()]
        return self

    def of(self, kind: type[Any]) -> list[Any]:
        return [t.what for t in self.events if type(t.what) is kind]

    def states(self) -> list[tuple[str, float]]:
        """(state, second of its frame)."""
        return [(i.state, i.time.timestamp() - T) for i in self.of(Incident)]


def case(*ids: str) -> Case:
    return Case([Someone(id=id).at(IN).seen() for id in ids], float(len(ids)))


def verdict(incident: str, text: str, confidence: float = 0.9) -> Verdict:
    return Verdict(
        camera="lobby",
        job="j",
        start=START,
        end=START,
        model="m",
        frames=[],
        reason=f"it is {text}",
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
        usage=Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0),
        incident=incident,
        verdict=text,  # type: ignore[arg-type]
        confidence=confidence,
    )


ENTER = rule("enter", zone="door")
RULE_WITH_QUESTION = rule("enter", zone="door", verify="Is somebody there?")
SECOND = dt.timedelta(seconds=1)
