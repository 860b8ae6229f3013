"""Runs of a replica with deferred frames, and what its second pass adds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.state import CameraState
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from shared.contract import events
from shared.contract.events import Counts, Detections, Incident
from shared.contract.rules import Rules
from shared.contract.work import backfill
from tests.support.video.walking_people import Walk, detections
from tests.support.worlds.analytics_partition import BEGIN, LIMITS, RULES, tracks
from tests.support.worlds.analytics_partition import of as of_kind
from tests.support.worlds.second_pass import (
    Memory,
    Message,
    Outcome,
    Replica,
    first_id,
    less,
    revision,
)

# These rules ask no model: the time of a verdict does not follow from the video.
QUIET: dict[str, Any] = {
    **RULES,
    "rules": [{k: v for k, v in r.items() if k not in ("verify", "alert")} for r in RULES["rules"]],
}
BOOK = msgspec.convert(QUIET, Rules)
SETTLE_S = 60.0


class Deferral(NamedTuple):
    """The deferral of one segment: `frames` are analysed immediately, the rest `after` seconds later, or never if None.

    reported: whether it is reported that it never comes.
    """

    frames: int
    after: float | None
    reported: bool = False


def messages(found: Sequence[Detections], delays: Sequence[float], how: Sequence[Deferral | None]) -> list[Message]:
    """What is stored of them: first events as they end, later by so much, and what takes their places."""
    out = []
    for event, delay, deferral in zip(found, delays, how, strict=False):
        at = (event.start - BEGIN).total_seconds() + event.duration + delay
        first = less(event, deferral.frames) if deferral else event
        out.append(Message(at, events.subject(first), first_id(event), events.encode(first)))
        if deferral and deferral.after is not None:
            better = revision(event, "expired" if deferral.reported else None)
            id = backfill.revision_id(first_id(event))
            out.append(Message(at + deferral.after, events.subject(better), id, events.encode(better)))
    return out


def whole(found: Sequence[Detections], how: Sequence[Deferral | None]) -> list[Message]:
    """The messages of a run without deferrals, except for frames that are never backfilled."""
    best = [
        msgspec.structs.replace(less(e, d.frames), quality=None) if d and (d.reported or d.after is None) else e
        for e, d in zip(found, how, strict=False)
    ]
    return messages(best, ON_TIME, NONE)


AFTER = BEGIN.timestamp() + 1e6


def play(
    stored: Iterable[Message],
    book: Rules = BOOK,
    limits: Limits | None = None,
    *,
    stops: Sequence[int] = (),
    saves: Sequence[int] = (),
    pages: int = 1000,
) -> Outcome:
    """All events until the end.

    stops: after these messages a replica is killed, and another continues from the last checkpoint.
    saves: after these messages a checkpoint is written. pages: those of a second pass after each message.
    """
    limits = limits or msgspec.structs.replace(LIMITS, settle_s=SETTLE_S)
    log, outcome = Memory(stored), Outcome()
    replica, saved = Replica(log, book, limits), None
    for n, message in enumerate(log.all):
        log.end = n + 1
        outcome.add(replica.live())
        outcome.add(replica.settle(message.time.timestamp(), pages))
        if n in saves:
            saved = replica.save()
        if n in stops:
            replica = Replica(log, book, limits, saved)
    outcome.add(replica.live())
    outcome.add(replica.wait(AFTER))
    outcome.add(replica.settle(AFTER))
    assert not replica.passes.by_camera, "every second pass ends"
    return outcome


deferrals = st.lists(
    st.none()
    | st.builds(
        Deferral,
        st.sampled_from([1, 2]),
        st.sampled_from([1.0, 7.0, 20.0, 40.0, 59.0, None, -2.0]),
        st.sampled_from([False, False, True]),
    ),
    min_size=24,
    max_size=24,
)
delays = st.lists(st.sampled_from([0, 0, 0.3, 1.1, 2.1, 2.5]), min_size=24, max_size=24)
NONE: list[Deferral | None] = [None] * 24
ON_TIME = [0.0] * 24


def live_of(outcome: Outcome, kind: type[Any]) -> list[Any]:
    return [out.what for out in outcome.live.values() if type(out.what) is kind]


def counts(outcome: Outcome) -> list[bytes]:
    """The minutes, as a reader that applies revisions has them."""
    found = {id: o.what for id, o in outcome.live.items() if isinstance(o.what, Counts)}
    for id, out in outcome.settled.items():
        if isinstance(out.what, Counts):
            if out.what.revises is not None:
                del found[out.what.revises]
            if not id.endswith("/none"):
                found[id] = msgspec.structs.replace(out.what, revises=None)
    return sorted(events.encode(what) for what in found.values())


def late(outcome: Outcome, state: str = "start") -> list[Incident]:
    return late_of([*outcome.settled.values()], state)


def late_of(outs: Outs, state: str = "start") -> list[Incident]:
    return [i for i in of_kind(outs, Incident) if i.late and i.state == state]


def false_alarms(outcome: Outcome) -> list[Incident]:
    return [out.what for out in outcome.settled.values() if type(out.what) is Incident and out.what.not_found]


def names_of(found: Sequence[Detections], how: Sequence[Deferral | None]) -> dict[str, str]:
    """Map an object's id of the second pass to the id that live analytics would have used."""
    best = [events_of(m) for m in whole(found, how)]
    by_state = []
    for again in (True, False):
        camera = CameraAnalytics("lobby", LIMITS, BOOK, CameraState(is_second_pass=again))
        outs = [o for n, e in enumerate(best, 1) for o in camera.read(n, e, e.start.timestamp())]
        by_state.append(sorted((t.first, t.box, t.id) for t in tracks(outs) if t.state == "new"))
    return {a[2]: b[2] for a, b in zip(*by_state, strict=True)}


def events_of(message: Message) -> Detections:
    return events.decode(message.data, Detections, message.subject)


def renamed(data: bytes, names: dict[str, str]) -> bytes:
    """The same with objects named as they would have been."""
    return re.sub(rb"settled-[ef]\d+-\d+", lambda m: names[m[0].decode()].encode(), data)


GATE: dict[str, Any] = {
    "lines": {"gate": {"from": [0.5, 0.95], "to": [0.5, 0.3]}},
    "rules": [{"id": "cross", "kind": "crossing", "line": "gate"}],
}
# Fast: it is seen for a second and a half.
RUNNER = Walk(4.1, 5.6, (0.35, 0.7), (0.65, 0.7))
# Each track lasts less than half a second, on different sides of the line.
LEFT, RIGHT = Walk(4.0, 4.4, (0.43, 0.7), (0.43, 0.7)), Walk(5.0, 5.4, (0.57, 0.7), (0.57, 0.7))


def scene(found: Sequence[Walk], seconds: int = 24, **more: Any) -> list[Detections]:
    return detections(found, seconds, fps=5, start=BEGIN, **more)


def rules_of(value: dict[str, Any], **more: Any) -> Rules:
    changed = {**value, "rules": [{**rule, **more} for rule in value["rules"]]}
    return msgspec.convert(changed, Rules)


def with_frames_left_out(found: Sequence[Detections], begin: int, end: int, after: float = 20.0) -> list[Message]:
    how = [Deferral(1, after) if begin <= n < end else None for n in range(len(found))]
    return messages(found, [0.0] * len(found), how)
