"""The device of a worker: a thread that computes one batch after the other, and the batch that waits for it."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from nats.aio.client import Client

from shared.worker.counts import WorkCounts
from shared.worker.device import Device
from tests.support.processes.cv_worker import segment_head
from tests.support.processes.echo_service import Echo, Job, publish, results, settled, working
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer


@dataclass
class _Input:
    """Input of the device, without a message."""

    prepared: Job
    message: _Input = field(init=False)
    origin: str = "MEDIA:1"
    infer_s: float = 0.0
    weight: int = 1

    def __post_init__(self) -> None:
        self.message = self


class _Gated(Echo):
    """The first batch lasts until `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.computing = threading.Event(), threading.Event()

    def infer(self, batch: Sequence[Job]) -> list[str]:
        self.computing.set()
        assert self.gate.wait(patience_s())
        return super().infer(batch)


async def test_a_batch_behind_a_busy_device_waits_until_it_is_full(server: NatsServer, admin: Client) -> None:
    service = _Gated()
    async with working(server, service, batch_wait_s=0.001):
        await publish(admin, ["m0"])
        await until(service.computing.is_set)
        for n in range(1, 5):
            await publish(admin, [f"m{n}"], first=n)
            await until(lambda n=n: f"m{n}" in service.prepared)  # type: ignore[misc]
            await asyncio.sleep(0.02)  # clock: twenty times the wait of a batch
        service.gate.set()
        await settled(admin)
    assert service.batches == [["m0"], ["m1", "m2", "m3", "m4"]]


class _Blocking(Echo):
    """Its first batch blocks the loop until the second computes, so only a batch that waits on the device can."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.blocked, self.second = threading.Event(), threading.Event()
        self.was_blocked = True

    async def block(self) -> None:
        await until(lambda: len(self.prepared) == 8)
        for _ in range(100):
            await asyncio.sleep(0)
        self.blocked.set()
        self.was_blocked = self.second.wait(patience_s())

    def infer(self, batch: Sequence[Job]) -> list[str]:
        if self.blocked.is_set():
            self.second.set()
        else:
            asyncio.run_coroutine_threadsafe(self.block(), self.loop)
            assert self.blocked.wait(patience_s())
        return super().infer(batch)


async def test_the_device_begins_its_next_batch_without_the_loop(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, [f"m{i}" for i in range(8)])
    service = _Blocking(asyncio.get_running_loop())
    async with working(server, service, batch_wait_s=patience_s()):
        await settled(admin)
    assert service.was_blocked
    assert sorted(await results(admin)) == seqs


class _Stepwise(Echo):
    """Each batch lasts until its turn in `gates`."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: queue.Queue[None] = queue.Queue()

    def infer(self, batch: Sequence[Job]) -> list[str]:
        self.gates.get(timeout=patience_s())
        return super().infer(batch)


async def test_a_batch_that_waits_for_the_device_is_no_hang() -> None:
    """A hang is judged by the time since the device began its batch."""
    service, counts = _Stepwise(), WorkCounts()
    device = Device(service, counts, slots=1, failures=3)
    device.open()
    first, second = (_Input(Job(segment_head(n), f"m{n}")) for n in range(2))
    running = [asyncio.create_task(device.infer([item])) for item in (first, second)]
    await until(lambda: device.computing_since is not None)
    before = time.monotonic()
    service.gates.put(None)
    await running[0]
    await until(lambda: device.computing_since is not None)
    assert (device.computing_since or 0.0) > before
    service.gates.put(None)
    await running[1]
    after = time.monotonic()
    device.close()
    assert device.computing_since is None
    assert second.infer_s <= after - before
    assert counts.busy_s == pytest.approx(first.infer_s + second.infer_s)
