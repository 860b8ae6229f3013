"""Processes that share a camera by leases, with a bucket and a clock of ours.

The clock and the bucket behave: a change reaches each process that runs and is not deaf within STEP_S. Requests and
answers may be lost, and processes may be frozen, or of a version without sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import nats.js.errors
from nats.js.kv import KeyValue
from prometheus_client import CollectorRegistry, Gauge

from services.ingest.sharing.handover import Handover
from shared.bus.leasing.entry import decode
from shared.bus.leasing.leases import Kind, Leases
from shared.bus.leasing.presence import RENEW
from shared.bus.leasing.state import OWNED, LeaseState, Loss

LEASE_S = 5.0
# Less than the previous holder gets to store what it has.
STEP_S = 0.5
KEY = "camera.lobby"
# An arbitrary epoch, with the precision that an entry has.
EPOCH = 1_764_250_000.0

Act = Callable[["Process"], Awaitable[None]]


class Write(NamedTuple):
    key: str
    revision: int
    value: bytes | None
    at: float


class Bucket:
    """The state of the server, and the current time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.writes: list[Write] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now

    def last(self, key: str) -> Write | None:
        return next((w for w in reversed(self.writes) if w.key == key), None)


class Copy:
    """A process's copy of the bucket: it has the first writes."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._read = 0
        self._revisions: dict[str, int] = {}
        self.values: dict[str, bytes] = {}
        self.seen: dict[str, float] = {}
        self.written: dict[str, float] = {}

    def hear(self) -> None:
        for key, revision, value, at in self._bucket.writes[self._read :]:
            self._revisions[key] = revision
            for seen in (self.values, self.seen, self.written):
                seen.pop(key, None)  # type: ignore[attr-defined]
            if value is not None:
                self.values[key], self.seen[key], self.written[key] = value, self._bucket.now, at
        self._read = len(self._bucket.writes)

    def revision(self, key: str) -> int | None:
        return self._revisions.get(key) if key in self.values else None

    def last_known(self, key: str) -> int:
        return self._revisions.get(key, 0)

    def is_deleted(self, key: str) -> bool:
        return key in self._revisions and key not in self.values


class Store:
    """A process's way to the bucket. fault: of the next write, whose `request` or `answer` is lost. is_cut: it has no
    way.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.fault = ""
        self.is_cut = False

    def _write(self, key: str, value: bytes | None, last: int | None) -> int:
        fault, self.fault = self.fault, ""
        if fault == "request" or self.is_cut:
            raise TimeoutError
        before = self._bucket.last(key)
        if last is not None and last != (before.revision if before else 0):
            raise nats.js.errors.KeyWrongLastSequenceError
        self._bucket.writes.append(Write(key, len(self._bucket.writes) + 1, value, self._bucket.time()))
        if fault == "answer":
            raise TimeoutError
        return len(self._bucket.writes)

    async def put(self, key: str, value: bytes) -> int:
        return self._write(key, value, None)

    async def update(self, key: str, value: bytes, last: int) -> int:
        return self._write(key, value, last)

    async def create(self, key: str, value: bytes) -> int:
        before = self._bucket.last(key)
        return self._write(key, value, before.revision if before and before.value is None else 0)

    async def delete(self, key: str, last: int | None = None) -> None:
        self._write(key, None, last)

    async def get(self, key: str) -> KeyValue.Entry:
        if self.is_cut:
            raise TimeoutError
        found = self._bucket.last(key)
        entry = found and KeyValue.Entry("leases", key, found.value, found.revision, 0, 0, None)
        if entry is None or entry.value is None:
            raise nats.js.errors.KeyNotFoundError(entry)
        return entry


class Older(Leases):
    """Leases of a version without sessions."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._facts = ()
        self.presence.has_session = lambda process: False  # type: ignore[method-assign]
        self.presence.end_session = mock.AsyncMock(return_value=True)  # type: ignore[method-assign]


class Process:
    """An ingest's acts on a camera's lease. habits: what it does whenever it can. is_older: it has no session, and ends
    none.
    """

    def __init__(self, name: str, bucket: Bucket, habits: Iterable[Act], *, is_older: bool = False) -> None:
        self.habits = set(habits)
        self.copy, self.store, self._bucket = Copy(bucket), Store(bucket), bucket
        owned = Gauge("owned", "Cameras.", registry=CollectorRegistry())
        parts: Any = (None, self.store, self.copy, name, Kind("camera", "process", owned), LEASE_S)
        self.leases = Older(*parts) if is_older else Leases(*parts)
        self.handover = Handover(self.leases)
        self.is_frozen = self.is_deaf = False
        self.has_published = False
        self._claimed_at = self._renewed_at = 0.0

    @property
    def publishes(self) -> bool:
        return not self.is_frozen and self.leases.holds("lobby")

    async def step(self) -> None:
        await self.hear()
        self.handover.update()
        for loss in self.leases.take_lost().values():
            assert loss.was_ours or not self.has_published
            assert loss == Loss(was_ours=False) or loss.until is None or loss.until <= self._bucket.time()
        if self._bucket.now >= self._renewed_at + RENEW * LEASE_S:
            self._renewed_at = self._bucket.now
            await self.leases.keep()
        for habit in ACTS:
            if habit in self.habits:
                await habit(self)

    async def claim(self) -> None:
        if await self.leases.claim("lobby"):
            self._claimed_at, self.has_published = self._bucket.now, False

    async def offer(self) -> None:
        # In use it learns from its next renewal that another has taken it: that one may have begun before.
        if not self.is_deaf:
            await self.handover.offer(["lobby"])

    async def keep(self) -> None:
        await self.handover.offer([])

    async def start(self) -> None:
        self.handover.start("lobby", self._bucket.time())
        await asyncio.gather(*self.handover._announcing.tasks)

    async def step_in(self) -> None:
        # A connection takes longer to fail than a change to arrive.
        if self._bucket.now > self._claimed_at + STEP_S:
            self.handover.start("lobby", None)
            await asyncio.gather(*self.handover._announcing.tasks)

    async def renew(self) -> None:
        await self.leases.renew("lobby")

    async def release(self) -> None:
        # In use it stores its video first: the previous holder has heard of it by then.
        lease = self.leases.table.get("lobby")
        if lease and (lease.state is LeaseState.TAKEN or lease.is_settled(self._bucket.now)):
            await self.leases.release("lobby")

    async def hear(self) -> None:
        if not self.store.is_cut and not self.is_deaf:
            self.copy.hear()


class World:
    """Processes, of which at most one may publish. older: the number of those of a version without sessions."""

    def __init__(self, habits: list[set[Act]], older: int) -> None:
        self.bucket = Bucket()
        self.older = older
        self.processes = [Process(f"p{n}", self.bucket, has, is_older=n < older) for n, has in enumerate(habits)]

    def check(self) -> None:
        publishing = [p for p in self.processes if p.publishes]
        assert len(publishing) <= 1, [p.leases.table for p in self.processes]
        for one in publishing:
            one.has_published = True
            assert one.leases.table["lobby"].state in OWNED

    async def pass_steps(self, steps: int) -> None:
        for _ in range(steps):
            self.bucket.now += STEP_S
            for process in self.processes:
                if not process.is_frozen:
                    await process.step()
            self.check()

    async def change(self, n: int, habits: set[Act]) -> None:
        self.processes[n % len(self.processes)].habits = habits

    async def act(self, n: int, act: Act) -> None:
        process = self.processes[n % len(self.processes)]
        if not process.is_frozen:
            await act(process)
            self.check()

    async def lose(self, n: int, fault: str) -> None:
        self.processes[n % len(self.processes)].store.fault = fault

    async def cut(self, n: int) -> None:
        """Cut it off, or end that. A holder whose offer may be taken is left: in use it can't publish then."""
        process = self.processes[n % len(self.processes)]
        process.store.is_cut = not process.store.is_cut and self._is_sole_or_none(process)

    async def deafen(self, n: int) -> None:
        """Let no change reach it, or end that. It has to hear of the older ones."""
        process = self.processes[n % len(self.processes)]
        process.is_deaf = not process.is_deaf and not self.older and self._is_sole_or_none(process)

    def _is_sole_or_none(self, process: Process) -> bool:
        last = self.bucket.last(KEY)
        entry = decode((last and last.value) or b"")
        is_sole = entry.process == process.leases.process and not entry.offered
        return is_sole or "lobby" not in process.leases.owned

    async def freeze(self, n: int) -> None:
        process = self.processes[n % len(self.processes)]
        process.is_frozen = not process.is_frozen
        if not process.is_frozen:
            await process.step()
            self.check()


ACTS: list[Act] = [Process.claim, Process.keep, Process.offer, Process.start, Process.step_in]


@contextlib.contextmanager
def clock_of(bucket: Bucket) -> Iterator[None]:
    """Let leases read the bucket's clock."""
    modules = ("shared.bus.leasing.leases", "shared.bus.leasing.presence", "services.ingest.sharing.handover")
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch(f"{module}.time", bucket))
        yield
