"""Processes that share cameras by leases on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_asyncio
from nats.aio.client import Client
from nats.js.kv import KeyValue
from prometheus_client import CollectorRegistry, Gauge

from services.ingest.sharing.handover import Handover
from shared import bus
from shared.bus.leasing.leases import Kind, Leases
from shared.bus.leasing.state import Loss
from shared.bus.mirror import Mirror, bind, mirror
from shared.contract import names
from shared.runtime.tasks import end
from tests.support.waiting import until
from tidegate.local.server import NatsServer

LEASE_S = 2.0
# Longer than any delay of a busy machine.
LONG_S = 20.0


class Process:
    """The leases of a process. `live` makes it renew them; without, it is frozen. following: its copy of the bucket."""

    def __init__(self, leases: Leases, mirror: Mirror, following: asyncio.Task[None]) -> None:
        self.leases = leases
        self.handover = Handover(leases)
        self.mirror = mirror
        self.following = following
        self._task: asyncio.Task[None] | None = None
        self._lost: dict[str, Loss] = {}

    @property
    def lost(self) -> dict[str, Loss]:
        self._lost |= self.leases.take_lost()
        return self._lost

    def live(self) -> None:
        self._task = asyncio.create_task(self.leases.run())

    async def freeze(self) -> None:
        await end(self._task)


Start = Callable[..., Awaitable[Process]]


@pytest_asyncio.fixture
async def process(server: NatsServer, admin: Client) -> AsyncIterator[Start]:
    """Creates a live process."""
    created: list[tuple[Client, asyncio.Task[None]]] = []
    lived: list[Process] = []

    async def make(name: str, lease_s: float = LEASE_S, kv: object = None) -> Process:
        client = await bus.connect(server.settings("ingest"), "ingest")
        copy = await mirror(client, names.LEASES, asyncio.Event())
        created.append((client, asyncio.create_task(copy.run())))
        await copy.ready.wait()
        owned = Gauge("owned", "Cameras.", registry=CollectorRegistry())
        bucket: Any = kv or await bind(client.jetstream(timeout=LEASE_S / 3), names.LEASES)
        leases = Leases(client, bucket, copy, name, Kind("camera", "process", owned), lease_s)
        process = Process(leases, copy, created[-1][1])
        process.live()
        lived.append(process)
        return process

    yield make
    for one in lived:
        await one.freeze()
        await one.handover.stop()
        await one.leases.leave()
    for client, task in created:
        await end(task)
        await client.close()


async def has_taken(process: Process) -> None:
    """Claim the camera whenever it is free, until the process has it."""
    while "lobby" not in process.leases.owned:
        if process.leases.is_free("lobby"):
            await process.leases.claim("lobby")
        await asyncio.sleep(0.02)


async def two(process: Start, holds_s: float = LEASE_S, **other: float) -> tuple[Process, Process]:
    """A holder of the camera, and another process that has seen its entry."""
    holder, other_one = await process("holder", lease_s=holds_s), await process("other", **other)
    await has_taken(holder)
    await until(lambda: not other_one.leases.is_free("lobby") and "camera.lobby" in other_one.mirror.values)
    return holder, other_one


async def hand_on(holder: Process, other: Process) -> None:
    """Make the holder offer the camera; the other one takes it, and has not begun."""
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    await until(lambda: holder.handover.update() or holder.handover.leaving)


async def moving(process: Start, **leases: float) -> tuple[Process, Process]:
    """`two`, of which the other one has taken the camera, and has not begun."""
    holder, other = await two(process, **leases)
    await hand_on(holder, other)
    return holder, other


async def heard(holder: Process) -> float | None:
    """Wait for the time until which the offered camera was its own."""
    while not holder.lost:
        holder.handover.update()
        await asyncio.sleep(0.02)
    assert set(holder.lost) == {"lobby"} and not holder.handover.leaving
    assert holder.lost["lobby"].was_ours
    return holder.lost["lobby"].until


def begin(process: Process, ago_s: float = 0.0) -> float:
    """Begin work on the offered camera, `ago_s` seconds ago; return that time in Unix seconds."""
    at = int((time.time() - ago_s) * 1000) / 1000
    assert process.handover.start("lobby", at)
    return at


class Unanswered:
    """A bucket that stores the begin of a camera, and whose answer is lost."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    def __getattr__(self, name: str) -> object:
        return getattr(self._kv, name)

    async def update(self, key: str, value: bytes, last: int) -> int:
        revision = await self._kv.update(key, value, last=last)
        if b"since" in value:
            raise TimeoutError
        return revision
