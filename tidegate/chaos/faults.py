"""What is done to a world, one after the other. Each ends what it began: after it all that was taken is back."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tidegate.chaos.world import World

Inflict = Callable[[World, random.Random], Awaitable[None]]


class Fault(NamedTuple):
    """name: in the table. inflict: does it, and undoes it. servers: how many there must be; 0 where it is no matter.

    missing: whether video may be missing for it: who was to read the camera was gone.
    """

    name: str
    inflict: Inflict
    servers: int = 0
    missing: bool = False


def away(seconds: float) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        server = await world.leader()
        await server.stop(signal.SIGKILL)
        await asyncio.sleep(seconds)
        await server.start()

    return inflict


def hangs(seconds: float) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        server = await world.leader()
        server.pause()
        await asyncio.sleep(seconds)
        server.resume()

    return inflict


async def restarts(world: World, dice: random.Random) -> None:
    """A rolling restart, of one or of three."""
    for server in world.servers:
        await server.stop()
        await server.start()
        await asyncio.sleep(10.0 if len(world.servers) > 1 else 0.0)


def without_quorum(seconds: float) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        gone = dice.sample(world.servers, 2)
        for server in gone:
            await server.stop(signal.SIGKILL)
        await asyncio.sleep(seconds)
        for server in gone:
            await server.start()

    return inflict


async def store_removed(world: World, dice: random.Random) -> None:
    """The disk of one of three is lost: its machine is made anew."""
    server = dice.choice(world.servers)
    await server.stop(signal.SIGKILL)
    shutil.rmtree(server.store)
    await server.start()


def of_ingest(sig: signal.Signals, seconds: float = 0.0) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        await _signal(dice.choice(world.ingests.pids), sig, seconds)

    return inflict


def of_worker(sig: signal.Signals, seconds: float = 0.0) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        await _signal(dice.choice(world.workers.pids), sig, seconds)

    return inflict


async def in_and_out(world: World, dice: random.Random) -> None:
    """Replicas of cv come and go every three seconds."""
    for _ in range(4):
        await world.workers.scale_to(world.size.workers + 2)
        await asyncio.sleep(3.0)
        await world.workers.scale_to(world.size.workers)
        await asyncio.sleep(3.0)


async def _signal(pid: int, sig: signal.Signals, seconds: float) -> None:
    """Send it; a process that is stopped goes on after so many seconds."""
    os.kill(pid, sig)
    if sig == signal.SIGSTOP:
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGCONT)


FAULTS = (
    *(Fault(f"the server is killed, and away for {s} s", away(s), 1) for s in (1, 7, 12, 25, 60)),
    Fault("the server hangs for 12 s", hangs(12), 1),
    Fault("the server is restarted", restarts, 1),
    *(Fault(f"the leader is killed, and away for {s} s", away(s), 3) for s in (1, 25)),
    *(Fault(f"the leader hangs for {s} s", hangs(s), 3) for s in (12, 60)),
    Fault("two of three are killed, and away for 15 s", without_quorum(15), 3),
    Fault("all are restarted, one after the other", restarts, 3),
    Fault("one loses its store", store_removed, 3),
    Fault("an ingest is killed", of_ingest(signal.SIGKILL), missing=True),
    Fault("an ingest is told to stop", of_ingest(signal.SIGTERM), missing=True),
    Fault("an ingest is frozen for 3 s", of_ingest(signal.SIGSTOP, 3), missing=True),
    Fault("an ingest is frozen for 12 s", of_ingest(signal.SIGSTOP, 12), missing=True),
    Fault("a worker is killed", of_worker(signal.SIGKILL)),
    Fault("a worker is frozen for 15 s", of_worker(signal.SIGSTOP, 15)),
    Fault("workers come and go every 3 s", in_and_out),
)


def of_world(servers: int) -> list[Fault]:
    """Those that a world of so many servers can have."""
    return [fault for fault in FAULTS if fault.servers in (0, servers)]
