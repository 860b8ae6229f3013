"""The system under test: its own servers, cameras, ingests and workers, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Literal

import msgspec
import nats.errors
from nats.aio.client import Client

from shared import bus
from shared.bus.log import Log
from shared.client import registry, rules
from shared.contract import names
from shared.contract.cameras import Camera
from shared.contract.rules import Enter, Rules, Zone
from shared.contract.segment import to_headers
from shared.runtime import child
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BusError
from shared.runtime.tasks import end
from tidegate.chaos.clock import Clock
from tidegate.chaos.disk import Disk, small_disk
from tidegate.chaos.follower import Follower
from tidegate.chaos.intruder import Intruder
from tidegate.chaos.ledger import Ledger
from tidegate.chaos.network_proxy import NetworkProxy, Pace
from tidegate.demo import clips, footage
from tidegate.demo.bank import Bank
from tidegate.local.cluster import NatsCluster
from tidegate.local.healing import Healing
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer
from tidegate.local.stack import WATCH_S

# Few frames a segment: the test is about segments, not models. A segment that waited for the end of a fault has one,
# and the other is deferred: this tests revisions, too.
WORKER_SETTINGS = {"CV_FPS": "2", "CV_LATENCY_TARGET_S": "5"}
# An incident for each object in the picture, with an immediate alert.
RULES = Rules(
    zones={"all": Zone(polygon=[(0, 0), (1, 0), (1, 1), (0, 1)])},
    rules=[Enter(id="seen", zone="all", alert="start")],
)
# As a process supervisor restarts them: a kubelet, systemd, `tidegate up`.
RESTART = Backoff(first_s=0.2, longest_s=2.0)
# Older video counts as delayed: a segment, its queue and a batch.
FRESH_S = 4.0
# The time to start up.
BEGUN_S = 180.0
WITNESS = "witness"
# The size of the store's small disk, which is memory: ten minutes of a camera, which MEDIA stores, and of the witness.
DISK_MB = 100
_POLL_S = 0.1
_WITNESS_S = 1.0


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How large a world is. clock: whether the services' wall clock can be stepped, which costs them CPU."""

    servers: Literal[1, 3] = 1
    ingests: int = 2
    cameras: int = 4
    workers: int = 1
    analytics: int = 2
    clock: bool = False


class World:
    """See the module. Created by `world`. acknowledged: segment id by its JetStream sequence.

    proxies, pace: between all services and the servers. clock: of all services. disk: of the first server's store, if
    it has one.
    """

    def __init__(self, size: Size, nats: NatsServer | NatsCluster, admin: Client, folder: Path) -> None:
        self.size = size
        self.nats = nats
        self.servers = nats.servers if isinstance(nats, NatsCluster) else [nats]
        self.admin = admin
        self.pace = Pace()
        self.proxies = [NetworkProxy(s.url, there=self.pace.carry, back=self.pace.carry) for s in self.servers]
        self.clock = Clock(folder)
        faked = self.clock.environment if size.clock else {}
        self.disk: Disk | None = None
        self.ingests, self.workers, self.analytics = (
            Replicas(
                service,
                child.python(f"services.{service}"),
                nats.environment(service) | faked | {"LOG_FORMAT": "json"} | more,
                folder / "logs",
                backoff=RESTART,
            )
            for service, more in (("ingest", {}), ("cv", WORKER_SETTINGS), ("analytics", {}))
        )
        self.pools = (self.ingests, self.workers, self.analytics)
        self.intruder = Intruder(nats.settings("viewer"))
        self.cameras = [f"cam-{n}" for n in range(size.cameras)]
        self.ledger = Ledger()
        self.follower = Follower(admin, self.ledger)
        self.acknowledged: dict[int, str] = {}
        self.running: list[asyncio.Task[None]] = []
        self._enough = asyncio.Event()
        self._witnessed = asyncio.Event()

    def ailing(self, since: float) -> list[str]:
        """Return the problems; none if fresh video of each camera from after `since` arrives and is processed, and all
        replicas run. Raises the error of an ended task.
        """
        self.check()
        now, ledger, found = time.time(), self.ledger, []
        for pool in self.pools:
            if len(pool.pids) != pool.count:
                found.append(f"{len(pool.pids)} of {pool.count} {pool.service} run")
        for camera in self.cameras:
            stored = ledger.newest(camera)
            # Tracks are published every two seconds, if there are any.
            ages = {
                "video": (stored, FRESH_S),
                "detections": (ledger.newest_seen(camera), 2 * FRESH_S),
                "tracks": (ledger.newest_followed(camera) or now, 4 * FRESH_S),
            }
            for what, (at, most) in ages.items():
                if now - at >= most:
                    found.append(f"{what} of {camera}: " + (f"{now - at:.0f} s old" if at else "none"))
            if stored <= since:
                found.append(f"no video of {camera} from after it")
        return found

    def check(self) -> None:
        """Raise the error of an ended background task: the counts would stop."""
        for task in self.running:
            if task.done() and not task.cancelled():
                task.result()

    def pool(self, service: str) -> Replicas:
        return next(pool for pool in self.pools if pool.service == service)

    async def leader(self) -> NatsServer:
        """Return the server that leads MEDIA, or the only one."""
        if len(self.servers) == 1:
            return self.servers[0]
        leader = None
        # It may still be in an election after the previous fault.
        with contextlib.suppress(TimeoutError, nats.errors.Error):
            info = await self.admin.jetstream().stream_info(names.MEDIA)
            leader = info.cluster.leader if info.cluster else None
        return next((s for s in self.servers if s.name == leader), self.servers[0])

    async def ready(self) -> None:
        """Wait until each server is up to date."""
        if isinstance(self.nats, NatsCluster):
            await self.nats.ready()

    async def settle(self, within_s: float) -> int | None:
        """Wait until cv has processed all stored segments and their deferred frames, the ledger has counted all of it,
        and each incident has its alert.

        Returns the sequence in MEDIA up to which all is processed and counted, None if that takes longer.
        """
        js = self.admin.jetstream()
        # No acknowledgement follows, so all acknowledged segments can be checked.
        self._enough.set()
        await self._witnessed.wait()
        end: int | None = None
        complete_to: int | None = None
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                end = end or await self._newest()
                info = await js.consumer_info(names.MEDIA, "cv")
                done = info.ack_floor.stream_seq if info.ack_floor else 0
                counted = self.follower.media >= end and self.follower.events >= await self._events()
                if done >= end and counted:
                    complete_to = end
                if complete_to and not self.ledger.unalerted and not self.ledger.unrevised:
                    break
            await asyncio.sleep(_POLL_S)
        return complete_to

    async def _newest(self) -> int:
        return int((await self.admin.jetstream().stream_info(names.MEDIA)).state.last_seq)

    async def _events(self) -> int:
        """Return the sequence of the newest detections event."""
        last = await self.admin.jetstream().get_last_msg(names.EVENTS, "events.detections.>")
        return int(last.seq or 0)

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return the background tasks."""
        return [self.follower.run(), self.witness(), self.intruder.run(), self._heal()]

    async def _heal(self) -> None:
        """Restart a single server as `tidegate up` does; a cluster's operator has other tools."""
        if isinstance(self.nats, NatsServer):
            healing = Healing(self.nats)
            while True:
                await healing.look(self.admin)
                await asyncio.sleep(WATCH_S)

    async def witness(self) -> None:
        """Publish, and record each acknowledgement, until `settle`."""
        video = footage.embedded()[0]
        (piece, *_) = [p for p in clips.pieces(video, WITNESS) if not p.dependent]
        epoch, n, js = f"{os.getpid():x}", 0, self.admin.jetstream()
        while not self._enough.is_set():
            segment = msgspec.structs.replace(piece.segment, epoch=epoch, n=n)
            n += 1
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                ack = await js.publish(names.media(WITNESS), piece.payload, timeout=2.0, headers=to_headers(segment))
                self.acknowledged[ack.seq] = segment.message_id
            await asyncio.sleep(_WITNESS_S)
        self._witnessed.set()

    def lost(self, *, final: bool = False) -> int:
        """Return how many acknowledged segments are missing in MEDIA as far as it was read; in all of it if `final`."""
        have, read_to = self.ledger.segments, math.inf if final else self.follower.media
        return sum(seq <= read_to and (seq not in have or have[seq].id != id) for seq, id in self.acknowledged.items())

    async def vanished(self) -> int:
        """Return how many acknowledged segments were read, and are missing in MEDIA although older ones exist."""
        async with Log(self.admin, names.MEDIA) as log:
            stored_seqs = {stored.seq for stored in await log.all(names.media(WITNESS))}
        first = (await self.admin.jetstream().stream_info(names.MEDIA)).state.first_seq
        return sum(first <= seq <= self.follower.media and seq not in stored_seqs for seq in self.acknowledged)


def _is_followed(film: Path) -> bool:
    """Return whether a film has tracks from any first frame on. A worker at one frame per second sees the same few
    pictures of a scene for ever: in other films they may have nothing in common.
    """
    return film.name.startswith(("crossing", "cab"))


@contextlib.asynccontextmanager
async def world(size: Size, folder: Path) -> AsyncIterator[World]:
    """Yield a world in `folder`, in which all cameras are online."""
    films = [f for f in footage.embedded() if _is_followed(f)]
    files = [films[n % len(films)] for n in range(size.cameras)]
    async with contextlib.AsyncExitStack() as opened:
        bank = await opened.enter_async_context(Bank(list(dict.fromkeys(files)), folder / "bank"))
        nats = NatsServer(folder / "nats") if size.servers == 1 else NatsCluster(folder / "nats")
        first = nats.servers[0] if isinstance(nats, NatsCluster) else nats
        disk = opened.enter_context(small_disk(first.store, DISK_MB * (size.cameras + 1)))
        await opened.enter_async_context(nats)
        admin = await bus.connect(nats.settings("admin"), "admin")
        opened.push_async_callback(admin.close)
        await nats.set_up(admin)
        new = World(size, nats, admin, folder)
        new.disk = disk
        for proxy in new.proxies:
            await opened.enter_async_context(proxy)
        for camera, file in zip(new.cameras, files, strict=True):
            await registry.put(admin.jetstream(), camera, Camera(url=bank.url(file.name), always=True), None)
            await rules.put(admin, camera, RULES)
        for pool, replicas in zip(new.pools, (size.ingests, size.workers, size.analytics), strict=True):
            pool.env["NATS_URL"] = ",".join(proxy.url for proxy in new.proxies)
            opened.push_async_callback(pool.close)
            await pool.scale_to(replicas)
        new.running = [asyncio.create_task(run) for run in new.tasks()]
        try:
            await _until_shared(new)
            yield new
        finally:
            for server in new.servers:
                server.resume()
            for pid in (pid for pool in new.pools for pid in pool.pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            await end(*new.running)
            shutil.rmtree(folder / "bank", ignore_errors=True)


async def _until_shared(new: World) -> None:
    """Wait until all cameras deliver, are analysed, and have moved to their final ingests. Raises BusError."""
    began, deadline = time.time(), time.monotonic() + BEGUN_S
    while new.ailing(began):
        if time.monotonic() > deadline:
            raise BusError(f"not all is well after {BEGUN_S:.0f} s, and nothing was broken: this machine is too busy")
        await asyncio.sleep(_POLL_S)
    stable_since, before = time.monotonic(), new.ledger.account(new.cameras)
    while time.monotonic() - stable_since < 2 * FRESH_S:
        await asyncio.sleep(_POLL_S)
        if (now := new.ledger.account(new.cameras)) != before:
            stable_since, before = time.monotonic(), now
