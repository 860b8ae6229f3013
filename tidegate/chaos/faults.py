"""The faults of a world, in order. Each undoes itself: afterwards all that it took is back."""

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

from tidegate.chaos.clock import SEEN_S
from tidegate.chaos.disk import few_files
from tidegate.chaos.world import World
from tidegate.local.scaling.replicas import Replicas

# Of each connection in each direction: below the rate of two cameras.
SLOW_BYTES_S = 100_000
# The gap of each camera of a lost ingest: a lease, a connection, a keyframe; more on a busy machine.
TAKEN_OVER_S = 20.0
# The gap of a camera that moves from one ingest to another.
MOVED_S = 2.0
# A clock is right again after one of its windows (services.ingest.cutting.clock), and a queue.
UNDATED_S = 15.0

Inflict = Callable[[World, random.Random], Awaitable[None]]


class Fault(NamedTuple):
    """name: in the table. inflict: causes and undoes it. servers: how many it requires; 0: any number.

    may_miss_s: the longest gap that it may cause in a camera's video, while its ingest is away. frozen_s: how long its
    ingest is frozen. needs: requirement on the machine; "" if none.
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
    """Restart the servers one by one."""
    for server in world.servers:
        await server.stop()
        await server.start()
        await world.ready()


def without_quorum(seconds: float) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        killed = dice.sample(world.servers, 2)
        for server in killed:
            await server.stop(signal.SIGKILL)
        await asyncio.sleep(seconds)
        for server in killed:
            await server.start()

    return inflict


async def store_removed(world: World, dice: random.Random) -> None:
    """Lose the disk of one of three: its machine is replaced."""
    server = dice.choice(world.servers)
    await server.stop(signal.SIGKILL)
    for path in server.store.iterdir():  # it may be a mount point
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    await server.start()


def full(seconds: float) -> Inflict:
    """Fill the disk of the first server's store, again and again for the whole time."""

    async def inflict(world: World, dice: random.Random) -> None:
        assert world.disk
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.to_thread(world.disk.fill)
            await asyncio.sleep(0.2)
        world.disk.free()

    return inflict


def full_and_restarted(seconds: float) -> Inflict:
    """Do as `full`, then what `tidegate up` does for its server: no server of a cluster restarts itself."""

    async def inflict(world: World, dice: random.Random) -> None:
        await full(seconds)(world, dice)
        await world.servers[0].stop()
        await world.servers[0].start()

    return inflict


def without_files(seconds: float) -> Inflict:
    """Keep the server from opening files."""

    async def inflict(world: World, dice: random.Random) -> None:
        with few_files(await world.leader()):
            await asyncio.sleep(seconds)

    return inflict


def silent(seconds: float) -> Inflict:
    """Stop all traffic between services and servers, without closing connections."""

    async def inflict(world: World, dice: random.Random) -> None:
        for proxy in world.proxies:
            proxy.stall()
        await asyncio.sleep(seconds)
        for proxy in world.proxies:
            proxy.mend()

    return inflict


async def half_open(world: World, dice: random.Random) -> None:
    """Drop the servers' ends of all connections, without notice to clients."""
    for proxy in world.proxies:
        proxy.forget()


def slow(bytes_s: int, seconds: float) -> Inflict:
    async def inflict(world: World, dice: random.Random) -> None:
        world.pace.bytes_s = bytes_s
        await asyncio.sleep(seconds)
        world.pace.bytes_s = None

    return inflict


def clock_steps(by_s: float, seconds: float) -> Inflict:
    """Step the wall clock of all services, and back, until the video filmed by the wrong clock is stored. The times of
    that video do not count.
    """

    async def inflict(world: World, dice: random.Random) -> None:
        world.ledger.dated = False
        world.clock.step(by_s)
        await asyncio.sleep(seconds)
        world.clock.step(0)
        await asyncio.sleep(SEEN_S)
        # By then the video filmed by the wrong clock is stored.
        await asyncio.sleep(UNDATED_S)
        world.ledger.dated = True

    return inflict


def one_of(service: str, sig: signal.Signals, seconds: float = 0.0) -> Inflict:
    """Send a signal to one of a service's replicas; a stopped one resumes after this many seconds."""

    async def inflict(world: World, dice: random.Random) -> None:
        pid = await _signalled(world.pool(service), sig, dice)
        if sig == signal.SIGSTOP:
            await asyncio.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

    return inflict


def in_and_out(service: str, more: int) -> Inflict:
    """Add and remove `more` replicas, every three seconds."""

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
    """Return the pid of a running replica that got the signal: all may be restarting."""
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
    """Return the faults of a world with this many servers."""
    return [fault for fault in FAULTS if fault.servers in (0, servers)]


def lacking(fault: Fault, world: World) -> str:
    """Return why this machine can't have the fault; "" if it can."""
    if fault.needs == "clock" and not world.clock.environment:
        return "libfaketime is not installed (apt install libfaketime)"
    if fault.needs == "disk" and world.disk is None:
        return "no disk that can be filled may be mounted here, as root may"
    return ""
