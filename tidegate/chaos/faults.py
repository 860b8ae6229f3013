"""What is done to a world, one after the other. Each ends what it began: after it all that was taken is back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from services.scaler.local.replicas import Replicas
from tidegate.chaos.clock import SEEN_S
from tidegate.chaos.disk import few_files
from tidegate.chaos.world import World

# Of each connection in each direction: less than two cameras send.
SLOW_BYTES_S = 100_000
# What an ingest that is gone costs of each of its cameras: a lease, a connection, a keyframe. On a busy machine more.
TAKEN_OVER_S = 20.0
# What a camera that moves from one ingest to another may lack.
MOVED_S = 2.0
# A clock is right again after a window of it (services.ingest.clock), and a queue.
UNDATED_S = 15.0

Inflict = Callable[[World, random.Random], Awaitable[None]]


class Fault(NamedTuple):
    """name: in the table. inflict: does it, and undoes it. servers: how many there must be; 0 where it is no matter.

    may_miss_s: the longest gap that a camera's video may have for it: who was to read the camera was gone. frozen_s:
    how long who reads it can't. needs: what there must be of the machine; "" if nothing.
    """

    name: str
    inflict: Inflict
    servers: int = 0
    may_miss_s: float = 0.0
    frozen_s: float = 0.0
    needs: Literal["", "clock", "disk"] = ""


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
        await world.ready()


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
    for path in server.store.iterdir():  # it may be where a disk is mounted
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    await server.start()


def full(seconds: float) -> Inflict:
    """The disk of the first server's store. What is freed meanwhile is filled again."""

    async def inflict(world: World, dice: random.Random) -> None:
        assert world.disk
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.to_thread(world.disk.fill)
            await asyncio.sleep(0.2)
        world.disk.free()

    return inflict


def full_and_restarted(seconds: float) -> Inflict:
    """As `full`, and then by hand what `tidegate up` does for its server: no server of a cluster heals by itself."""

    async def inflict(world: World, dice: random.Random) -> None:
        await full(seconds)(world, dice)
        await world.servers[0].stop()
        await world.servers[0].start()

    return inflict


def without_files(seconds: float) -> Inflict:
    """The server can't open a file."""

    async def inflict(world: World, dice: random.Random) -> None:
        with few_files(await world.leader()):
            await asyncio.sleep(seconds)

    return inflict


def silent(seconds: float) -> Inflict:
    """Nothing gets through between services and servers, and nobody is told."""

    async def inflict(world: World, dice: random.Random) -> None:
        for way in world.ways:
            way.stall()
        await asyncio.sleep(seconds)
        for way in world.ways:
            way.mend()

    return inflict


async def half_open(world: World, dice: random.Random) -> None:
    """The servers' ends of all connections go, and no client is told."""
    for way in world.ways:
        way.forget()


def slow(bytes_s: int, seconds: float) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        world.pace.bytes_s = bytes_s
        await asyncio.sleep(seconds)
        world.pace.bytes_s = None

    return inflict


def clock_steps(by_s: float, seconds: float) -> Inflict:
    """The wall clock of all services, and back, until what was filmed by the wrong one is stored. By which time it was
    filmed is no matter.
    """

    async def inflict(world: World, dice: random.Random) -> None:
        world.ledger.dated = False
        world.clock.step(by_s)
        await asyncio.sleep(seconds)
        world.clock.step(0)
        await asyncio.sleep(SEEN_S)
        # What was filmed by the wrong clock is stored by then.
        await asyncio.sleep(UNDATED_S)
        world.ledger.dated = True

    return inflict


def one_of(service: str, sig: signal.Signals, seconds: float = 0.0) -> Inflict:
    """Send a signal to one of a service's replicas; one that is stopped goes on after so many seconds."""

    async def inflict(world: World, dice: random.Random) -> None:
        pid = await _signalled(world.pool(service), sig, dice)
        if sig == signal.SIGSTOP:
            await asyncio.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

    return inflict


def in_and_out(service: str, more: int) -> Inflict:
    """So many more replicas come and go, every three seconds."""

    async def inflict(world: World, dice: random.Random) -> None:
        pool = world.pool(service)
        usual = pool.count
        for _ in range(4):
            await pool.scale_to(usual + more)
            await asyncio.sleep(3.0)
            await pool.scale_to(usual)
            await asyncio.sleep(3.0)

    return inflict


async def _signalled(pool: Replicas, sig: signal.Signals, dice: random.Random) -> int:
    """The pid of one that runs, and has the signal: they may all be about to be started again."""
    while True:
        with contextlib.suppress(IndexError, ProcessLookupError):
            pid = dice.choice(pool.pids)
            os.kill(pid, sig)
            return pid
        await asyncio.sleep(0.1)


FAULTS = (
    *(Fault(f"the server is killed, and away for {s} s", away(s), 1) for s in (1, 7, 12, 25, 60)),
    *(Fault(f"the server hangs for {s} s", hangs(s), 1) for s in (12, 60)),
    Fault("the server is restarted", restarts, 1),
    *(Fault(f"the leader is killed, and away for {s} s", away(s), 3) for s in (1, 25)),
    *(Fault(f"the leader hangs for {s} s", hangs(s), 3) for s in (12, 60)),
    Fault("two of three are killed, and away for 15 s", without_quorum(15), 3),
    Fault("all are restarted, one after the other", restarts, 3),
    Fault("one loses its store", store_removed, 3),
    Fault("the disk is full for 10 s", full(10), 1, needs="disk"),
    Fault("the disk of one is full for 10 s, and it is restarted", full_and_restarted(10), 3, needs="disk"),
    Fault("the server can't open files for 10 s", without_files(10), 1),
    Fault("nothing gets through for 3 s", silent(3)),
    Fault("nothing gets through for 20 s", silent(20)),
    Fault("all connections are half open", half_open),
    Fault("the network is slow for 20 s", slow(SLOW_BYTES_S, 20)),
    Fault("the clock is 45 s ahead for 10 s", clock_steps(45, 10), needs="clock"),
    Fault("the clock is an hour behind for 10 s", clock_steps(-3600, 10), needs="clock"),
    Fault("an ingest is killed", one_of("ingest", signal.SIGKILL), may_miss_s=TAKEN_OVER_S),
    Fault("an ingest is told to stop", one_of("ingest", signal.SIGTERM), may_miss_s=MOVED_S),
    *(
        Fault(f"an ingest is frozen for {s} s", one_of("ingest", signal.SIGSTOP, s), may_miss_s=may_miss_s, frozen_s=s)
        for s, may_miss_s in ((3, MOVED_S), (12, TAKEN_OVER_S), (60, TAKEN_OVER_S))
    ),
    Fault("ingests come and go every 3 s", in_and_out("ingest", 1), may_miss_s=MOVED_S),
    Fault("a worker is killed", one_of("cv", signal.SIGKILL)),
    Fault("a worker is frozen for 15 s", one_of("cv", signal.SIGSTOP, 15)),
    Fault("workers come and go every 3 s", in_and_out("cv", 2)),
    Fault("an analytics is killed", one_of("analytics", signal.SIGKILL)),
    Fault("an analytics is frozen for 15 s", one_of("analytics", signal.SIGSTOP, 15)),
    Fault("analytics come and go every 3 s", in_and_out("analytics", 1)),
)


def of_world(servers: int) -> list[Fault]:
    """Those that a world of so many servers can have."""
    return [fault for fault in FAULTS if fault.servers in (0, servers)]


def lacking(fault: Fault, world: World) -> str:
    """Why this machine can't have it; "" where it can."""
    if fault.needs == "clock" and not world.clock.environment:
        return "libfaketime is not installed (apt install libfaketime)"
    if fault.needs == "disk" and world.disk is None:
        return "no disk that can be filled may be mounted here, as root may"
    return ""
