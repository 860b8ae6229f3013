"""The cost of sharing cameras: writes a second and CPU of processes that hold leases, without any video.

    python -m bench.bench_leases [processes] [cameras] [seconds]

Twice in one run: as processes of this version renew their sessions, and as they renew each lease while a process of a
version without sessions is present. All processes are in one: their CPU is that of one process, on average.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import psutil
from prometheus_client import CollectorRegistry, Gauge
from rich.console import Console
from rich.table import Table

from bench import record, world
from bench.processor import cpu_s
from shared import bus
from shared.bus.leasing import leases as leasing
from shared.bus.leasing.leases import Kind, Leases
from shared.contract import names
from shared.runtime.tasks import end
from tidegate.local.server import NatsServer

PROCESSES, CAMERAS, SECONDS = 10, 400, 15
LEASE_S = 5.0
# Of a process that renews each lease, and takes what is not renewed.
OLDER = "process.older"


class Cost(NamedTuple):
    """Per second. process, server: cores."""

    writes: float
    process: float
    server: float


@asynccontextmanager
async def holding(server: NatsServer, cameras: range) -> AsyncIterator[Leases]:
    """A process that holds the leases of these cameras."""
    client = await bus.connect(server.settings("ingest"), "ingest")
    gauge = Gauge("owned", "Cameras.", registry=CollectorRegistry())
    kind = Kind("camera", "process", gauge)
    copy, leases = await leasing.open_leases(client, names.LEASES, kind, LEASE_S, asyncio.Event())
    tasks = [asyncio.create_task(copy.run()), asyncio.create_task(leases.run())]
    await copy.ready.wait()
    for n in cameras:
        while not await leases.claim(f"c{n}"):
            await asyncio.sleep(0.1)
    try:
        yield leases
    finally:
        await end(*tasks)
        await client.close()


async def cost(written: Callable[[], Awaitable[int]], nats: psutil.Process, processes: int, seconds: int) -> Cost:
    began, writes, server, ours = time.monotonic(), await written(), cpu_s(nats), time.process_time()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return Cost(
        (await written() - writes) / took,
        (time.process_time() - ours) / took / processes,
        (cpu_s(nats) - server) / took,
    )


async def measure(processes: int, cameras: int, seconds: int) -> tuple[Cost, Cost]:
    async with world.serving() as (server, admin, _), AsyncExitStack() as stack:
        each = cameras // processes
        held = [
            await stack.enter_async_context(holding(server, range(n * each, (n + 1) * each))) for n in range(processes)
        ]
        nats = next(child for child in psutil.Process().children() if "nats-server" in child.name())
        kv = await admin.jetstream().key_value(names.LEASES)

        async def written() -> int:
            return (await admin.jetstream().stream_info(f"KV_{names.LEASES}")).state.last_seq

        await asyncio.sleep(2 * LEASE_S)
        sessions = await cost(written, nats, processes, seconds)
        await kv.put(OLDER, b"older/60")
        await asyncio.sleep(2 * LEASE_S)
        each_lease = await cost(written, nats, processes, seconds)
        lost = sum(not leases.holds(thing) for leases in held for thing in leases.table)
        if lost:
            print(f"{lost} leases had run out at the end")
        return sessions, each_lease


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:4]]
    processes, cameras, seconds = numbers + [PROCESSES, CAMERAS, SECONDS][len(numbers) :]
    sessions, each = asyncio.run(measure(processes, cameras, seconds))
    table = Table(f"{processes} processes, {cameras} cameras", "sessions", "each lease", "ratio", box=None)
    for name, text in (("writes", "{:.0f}/s"), ("process", "{:.2%} of a core"), ("server", "{:.1%} of a core")):
        ours, theirs = getattr(sessions, name), getattr(each, name)
        table.add_row(name, text.format(ours), text.format(theirs), f"{ours / theirs:.3f}")
    Console(width=120).print(table)
    ratios = {name: getattr(sessions, name) / getattr(each, name) for name in Cost._fields}
    record.write("leases", lower=ratios, figures={"writes/s": sessions.writes})


if __name__ == "__main__":
    main()
