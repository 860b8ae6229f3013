"""The second pass: what it says is what would have been said had no frame been left out, and it is said once."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics import checkpoint
from services.analytics.partition import Partition
from services.analytics.rules import Rules
from services.analytics.settled.reading import SettledReader
from services.analytics.settled.state import TUNING, SettledState
from services.analytics.state import Limits
from services.analytics.statements import Out, Outs
from shared.bus.direct import Stored
from shared.contract import backfill, events, jobs, names
from shared.contract.events import Alert, Counts, Detections, DetectionsRevision, Incident, Quality
from tests.test_analytics_camera import BEGIN, BUSY, LIMITS, RULES, scenes, two_connections, walks
from tests.test_analytics_camera import of as of_kind
from tests.walks import Walk, detections

# Nothing is asked here: when a verdict comes is not for the video to say.
QUIET: dict[str, Any] = {
    **RULES,
    "rules": [{k: v for k, v in r.items() if k not in ("verify", "alert")} for r in RULES["rules"]],
}
BOOK = msgspec.convert(QUIET, Rules)
SETTLE_S = 60.0
TAIL_S = TUNING.tail_s


class Deferral(NamedTuple):
    """Of one segment: how many frames are looked at at once; the rest comes so many seconds later, or never.

    said: whether it is said that it never comes.
    """

    frames: int
    after: float | None
    said: bool = False


class Message(NamedTuple):
    """at: seconds after `BEGIN` at which it is stored."""

    at: float
    subject: str
    id: str
    data: bytes


def first_id(event: Detections) -> str:
    return f"cv/m/{event.camera}/{event.segment.epoch}/{event.segment.n}"


def less(event: Detections, frames: int) -> Detections:
    """The same, of fewer frames."""
    step = max(1, len(event.frames) // frames)
    wanted = float(len(event.frames))
    quality = Quality(fps=len(event.frames[::step]), wanted=wanted, cause="backlog")
    return msgspec.structs.replace(event, frames=event.frames[::step], quality=quality)


def revision(event: Detections, lost: Any = None) -> DetectionsRevision:
    fields = {f: getattr(event, f) for f in event.__struct_fields__}
    fields["frames"] = [] if lost else event.frames
    return DetectionsRevision(**fields, revises=first_id(event), lost=lost)


def messages(found: Sequence[Detections], delays: Sequence[float], how: Sequence[Deferral | None]) -> list[Message]:
    """What is stored of them: first events as they end, later by so much, and what takes their places."""
    out = []
    for event, delay, deferral in zip(found, delays, how, strict=False):
        at = (event.start - BEGIN).total_seconds() + event.duration + delay
        first = less(event, deferral.frames) if deferral else event
        out.append(Message(at, events.subject(first), first_id(event), events.encode(first)))
        if deferral and deferral.after is not None:
            better = revision(event, "expired" if deferral.said else None)
            id = backfill.revision_id(first_id(event))
            out.append(Message(at + deferral.after, events.subject(better), id, events.encode(better)))
    return out


def whole(found: Sequence[Detections], how: Sequence[Deferral | None]) -> list[Message]:
    """What would have been stored had nothing been left out, but for what is never looked at again."""
    best = [
        msgspec.structs.replace(less(e, d.frames), quality=None) if d and (d.said or d.after is None) else e
        for e, d in zip(found, how, strict=False)
    ]
    return messages(best, ON_TIME, NONE)


class Memory:
    """EVENTS, as far as it has come: what `shared.bus.log.Log` reads, a property's thousands of times."""

    def __init__(self, stored: Iterable[Message]) -> None:
        self.all = [
            Stored(seq, m.subject, BEGIN + dt.timedelta(seconds=m.at), {"ce-id": m.id}, m.data)
            for seq, m in enumerate(sorted(stored, key=lambda m: m.at), 1)
        ]
        self.end = 0

    async def read(self, subject: str, seq: int, *, most: int = 256) -> list[Stored]:
        return [s for s in self.all[: self.end] if names.overlap(subject, s.subject) and s.seq >= seq][:most]


class Replica:
    """A replica of analytics without its connection, from a checkpoint on."""

    def __init__(self, log: Memory, book: Rules, limits: Limits, saved: Saved | None = None) -> None:
        self.log = log
        self.partition = Partition(0, limits, lambda _: book)
        ticks = itertools.count()
        self.reader = SettledReader(limits.settle_s, clock=lambda: float(next(ticks) * 100))
        self.partition.position = saved.position if saved else 1
        for camera, data in (saved.cameras if saved else {}).items():
            self.partition.restore(camera, checkpoint.unpacked(data))
        for camera, data in (saved.settled if saved else {}).items():
            self.partition.restore_settled(camera, checkpoint.unpacked(data, SettledState))

    def save(self) -> Saved:
        p = self.partition
        return Saved(
            p.first_needed(),
            {c: checkpoint.packed(camera.state()) for c, camera in p.cameras.items()},
            {c: checkpoint.packed(settled.state()) for c, settled in p.settled.items()},
        )

    def live(self) -> Outs:
        """Read all detections that there are."""
        p, outs = self.partition, []
        for stored in self.log.all[: self.log.end]:
            if stored.subject.startswith("events.detections.") and stored.seq >= p.position:
                outs += p.read(stored)
        p.position = max(p.position, self.log.end + 1)
        return outs

    def wait(self, end: float) -> Outs:
        """Nothing more is stored until `end`."""
        return [out for _, outs in self.partition.due(end) for out in outs]

    def settle(self, end: float, pages: int = 1000) -> Outs:
        return asyncio.run(self._settle(end, pages))

    async def _settle(self, end: float, pages: int) -> Outs:
        outs: Outs = []
        for _ in range(pages):
            page = await self.reader.next(self.log, [self.partition], end)  # type: ignore[arg-type]
            if page is None:
                break
            outs += self.partition.settle(page.camera, page.read, page.next, over=page.over, now=end)
        return outs


class Saved(NamedTuple):
    position: int
    cameras: dict[str, bytes]
    settled: dict[str, bytes]


class Said:
    """What is said by its id: never two things under one."""

    def __init__(self) -> None:
        self.live: dict[str, Out] = {}
        self.settled: dict[str, Out] = {}

    def add(self, outs: Outs) -> None:
        for out in outs:
            side = self.settled if out.id.startswith("settled/") else self.live
            assert encoded(side.setdefault(out.id, out)) == encoded(out), out.id


def encoded(out: Out) -> bytes:
    return jobs.encode(out.what) if isinstance(out.what, jobs.Job) else events.encode(out.what)


AFTER = BEGIN.timestamp() + 1e6


def play(
    stored: Iterable[Message],
    book: Rules = BOOK,
    limits: Limits | None = None,
    *,
    stops: Sequence[int] = (),
    saves: Sequence[int] = (),
    pages: int = 1000,
) -> Said:
    """All that is said, to the end. stops: after which messages a replica is killed, and another goes on from the
    checkpoint that was written before. saves: after which messages one is. pages: of a second pass, after each message.
    """
    limits = limits or msgspec.structs.replace(LIMITS, settle_s=SETTLE_S)
    log, said = Memory(stored), Said()
    replica, saved = Replica(log, book, limits), None
    for n, message in enumerate(log.all):
        log.end = n + 1
        said.add(replica.live())
        said.add(replica.settle(message.time.timestamp(), pages))
        if n in saves:
            saved = replica.save()
        if n in stops:
            replica = Replica(log, book, limits, saved)
    said.add(replica.live())
    said.add(replica.wait(AFTER))
    said.add(replica.settle(AFTER))
    assert not replica.partition.settled, "every second pass ends"
    return said


def settled_bytes(said: Said) -> dict[str, bytes]:
    return {id: encoded(out) for id, out in said.settled.items()}


# ---- scenes

deferrals = st.lists(
    st.none()
    | st.builds(
        Deferral,
        st.sampled_from([1, 2]),
        st.sampled_from([1.0, 7.0, 20.0, 40.0, 59.0, None]),
        st.sampled_from([False, False, True]),
    ),
    min_size=24,
    max_size=24,
)
delays = st.lists(st.sampled_from([0, 0, 0.3, 1.1, 2.1, 2.5]), min_size=24, max_size=24)
NONE: list[Deferral | None] = [None] * 24
ALL: list[Deferral | None] = [Deferral(1, 5.0)] * 24
ON_TIME = [0.0] * 24


def as_said(said: Said, kind: type[Any]) -> list[Any]:
    return [out.what for out in said.live.values() if type(out.what) is kind]


def counts(said: Said) -> list[bytes]:
    """The minutes as whoever follows what is revised has them."""
    found = {id: o.what for id, o in said.live.items() if isinstance(o.what, Counts)}
    for id, out in said.settled.items():
        if isinstance(out.what, Counts):
            if out.what.revises is not None:
                del found[out.what.revises]
            if not id.endswith("/none"):
                found[id] = msgspec.structs.replace(out.what, revises=None)
    return sorted(events.encode(what) for what in found.values())


def late(said: Said, state: str = "start") -> list[Incident]:
    return [
        out.what for out in said.settled.values() if type(out.what) is Incident and out.what.late and out.what.state == state
    ]


def false_alarms(said: Said) -> list[Incident]:
    return [out.what for out in said.settled.values() if type(out.what) is Incident and out.what.not_found]


def renamed(data: bytes, born: str, pass_: str) -> bytes:
    """The same with objects named as they would have been."""
    return data.replace(f"settled-{pass_}-".encode(), f"{born}-".encode())


@given(scenes, deferrals)
@settings(max_examples=40)
def test_minutes_become_those_of_a_run_in_which_nothing_was_left_out(
    found: list[Detections], how: list[Deferral | None]
) -> None:
    said = play(messages(found, ON_TIME, how))
    expected = play(whole(found, how))
    assert counts(said) == counts(expected) and not expected.settled
    revised = {i.replace("settled/", "analytics/", 1) for i, o in said.settled.items() if isinstance(o.what, Counts)}
    assert revised <= expected.live.keys()


@given(scenes, deferrals)
@settings(max_examples=40)
def test_every_late_incident_is_one_of_a_run_in_which_nothing_was_left_out(
    found: list[Detections], how: list[Deferral | None]
) -> None:
    """To the id and to the byte, but for the names of objects that were first seen in the second pass."""
    said = play(messages(found, ON_TIME, how))
    expected = play(whole(found, how))
    began = next((e for e, d in zip(found, how, strict=True) if d), found[0]).segment
    born, name = f"{found[0].segment.epoch}{found[0].segment.n}", f"{began.epoch}{began.n}"
    for id, out in said.settled.items():
        if type(out.what) is Incident and out.what.late:
            plain = msgspec.structs.replace(out.what, late=None)
            same = renamed(id.encode(), born, name).decode().replace("settled/", "analytics/", 1)
            if out.what.state == "end" and same not in expected.live:
                continue  # it lasted when the pass ended
            assert renamed(events.encode(plain), born, name) == encoded(expected.live[same])


@given(scenes, deferrals)
@settings(max_examples=40)
def test_with_what_is_late_nothing_is_missing_and_what_was_not_there_is_marked(
    found: list[Detections], how: list[Deferral | None]
) -> None:
    said = play(messages(found, ON_TIME, how))
    expected = [i for i in as_said(play(whole(found, how)), Incident) if i.state == "start"]
    told = [i for i in as_said(said, Incident) if i.state == "start"]
    for is_so in expected:
        assert any(near(is_so, other) for other in [*told, *late(said)])
    for was in false_alarms(said):
        assert was.incident in {i.incident for i in told}


def near(a: Incident, b: Incident) -> bool:
    """Whether two are as like each other as those that the second pass takes for the same, or one lasts."""
    apart = abs((a.start - b.start).total_seconds())
    return a.rule == b.rule and (apart <= TUNING.near_s or a.condition not in ("crossing", "exit"))


@given(scenes, delays, deferrals, st.lists(st.tuples(st.integers(0, 23), st.floats(0, 90)), max_size=6), st.data())
@settings(max_examples=60)
def test_the_same_is_said_whatever_the_order_the_repeats_and_the_restarts(
    found: list[Detections],
    late_by: list[float],
    how: list[Deferral | None],
    again: list[tuple[int, float]],
    data: st.DataObject,
) -> None:
    stored = messages(found, late_by, how)
    expected = play(messages(found, ON_TIME, how))
    repeats = [stored[n]._replace(at=stored[n].at + later, id=f"again/{k}") for k, (n, later) in enumerate(again)]
    revised = {m.id for m in stored if "revisions" in m.subject}
    repeats = [r for r in repeats if "revisions" in r.subject or "quality" not in msgspec.json.decode(r.data)]
    assert revised or not any(d and d.after for d in how)
    moments = st.lists(st.integers(0, len(stored) + len(repeats) - 1), max_size=5)
    stops, saves = data.draw(moments, label="killed after"), data.draw(moments, label="saved after")
    pages = data.draw(st.sampled_from([0, 1, 2, 1000]), label="pages after each message")
    said = play([*stored, *repeats], stops=stops, saves=saves, pages=pages)
    assert settled_bytes(said) == settled_bytes(expected)
    assert {id: encoded(o) for id, o in said.live.items()} == {id: encoded(o) for id, o in expected.live.items()}
