"""A replica of analytics without its connection, which reads EVENTS from memory and takes the second pass."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from services.analytics.camera.statements import Out, Outs
from services.analytics.limits import Limits
from services.analytics.partitions import checkpoint
from services.analytics.partitions.partition import Partition
from services.analytics.second_pass.passes import Passes
from services.analytics.second_pass.reading import SecondPassReader
from services.analytics.second_pass.state import SecondPassState
from shared.bus.direct import Stored
from shared.contract import events, names
from shared.contract.events import Detections, DetectionsRevision, Quality
from shared.contract.rules import Rules
from shared.contract.work import jobs
from tests.support.worlds.analytics_partition import BEGIN


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


class Memory:
    """EVENTS in memory: the interface of `shared.bus.log.Log`, for thousands of runs of a property."""

    def __init__(self, stored: Iterable[Message]) -> None:
        self.all = [
            Stored(seq, m.subject, BEGIN + dt.timedelta(seconds=m.at), {"ce-id": m.id}, m.data)
            for seq, m in enumerate(sorted(stored, key=lambda m: m.at), 1)
        ]
        self.end = 0

    async def read(self, subject: str, seq: int, *, most: int = 256) -> list[Stored]:
        return [s for s in self.all[: self.end] if names.overlap(subject, s.subject) and s.seq >= seq][:most]

    async def since(self, subject: str, time: dt.datetime, *, most: int = 256) -> list[Stored]:
        return await self.read(subject, next((s.seq for s in self.all if s.time >= time), self.end + 1), most=most)


class Replica:
    """A replica of analytics without its connection, from a checkpoint on."""

    def __init__(self, log: Memory, book: Rules, limits: Limits, saved: Saved | None = None) -> None:
        self.log = log
        self.book = book
        self.partition = Partition(0, limits, lambda _: self.book, extend=Passes)
        ticks = itertools.count()
        self.reader = SecondPassReader(limits.settle_s, clock=lambda: float(next(ticks) * 100))
        self.partition.position = saved.position if saved else 1
        for camera, data in (saved.cameras if saved else {}).items():
            self.partition.restore(camera, checkpoint.unpacked(data))
        for camera, data in (saved.settled if saved else {}).items():
            self.passes.restore(camera, checkpoint.unpacked(data, SecondPassState))

    @property
    def passes(self) -> Passes:
        assert isinstance(self.partition.extension, Passes)
        return self.partition.extension

    def save(self) -> Saved:
        p = self.partition
        return Saved(
            p.resume_at().seq,
            {c: checkpoint.packed(camera.state()) for c, camera in p.cameras.items()},
            {c: checkpoint.packed(settled.state()) for c, settled in self.passes.by_camera.items()},
        )

    def live(self) -> Outs:
        """Read all detections in the log."""
        p, outs = self.partition, []
        for stored in self.log.all[: self.log.end]:
            if stored.subject.startswith("events.detections.") and stored.seq >= p.position:
                outs += p.read(stored)
        p.position = max(p.position, self.log.end + 1)
        return outs

    def wait(self, end: float) -> Outs:
        """Let time pass until `end` without new events."""
        return [out for _, outs in self.partition.due(end) for out in outs]

    def settle(self, end: float, pages: int = 1000) -> Outs:
        return asyncio.run(self.settling(end, pages))

    async def settling(self, end: float, pages: int = 1000) -> Outs:
        outs: Outs = []
        for _ in range(pages):
            work = await self.reader.next_work(self.log, [self.partition], end)  # type: ignore[arg-type]
            if work is None:
                break
            outs += work().outs
        return outs


class Saved(NamedTuple):
    position: int
    cameras: dict[str, bytes]
    settled: dict[str, bytes]


class Outcome:
    """The outputs by id: never two different ones under one id."""

    def __init__(self) -> None:
        self.live: dict[str, Out] = {}
        self.settled: dict[str, Out] = {}

    def add(self, outs: Outs) -> None:
        for out in outs:
            side = self.settled if out.id.startswith("settled/") else self.live
            assert encoded(side.setdefault(out.id, out)) == encoded(out), out.id


def encoded(out: Out) -> bytes:
    return jobs.encode(out.what) if isinstance(out.what, jobs.Job) else events.encode(out.what)


def settled_bytes(outcome: Outcome) -> dict[str, bytes]:
    return {id: encoded(out) for id, out in outcome.settled.items()}
