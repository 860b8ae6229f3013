"""Decides which cameras run in this process: after every change, what is wanted and leased is made to run."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from itertools import islice

from services.ingest import metrics
from services.ingest.rotation import TURN_S, CameraRotation
from services.ingest.runner import Runner
from services.ingest.settings import IngestSettings
from shared.bus.leases import Leases
from shared.bus.mirror import Mirror
from shared.contract import cameras, credentials, names
from shared.contract.cameras import Camera
from shared.contract.credentials import Credentials, Login
from shared.contract.names import check_camera
from shared.runtime.errors import SettingError
from shared.runtime.telemetry import Health, logger

# How often we look without being told of a change: nobody tells when the lease of a dead process runs out.
_LOOK_S = 0.5
_POLL_S = 0.05
# Who was away takes nothing for a lease. Of what we leave nobody takes more, where nobody has for so much longer.
_UNTAKEN_S = 2.0
# A stop that takes longer is said.
_SILENT_S = 1.0
# A camera whose settings have changed gets no longer to publish what it has: it is not read meanwhile.
_CHANGED_S = 3.0
# What of the grace is kept to publish what is buffered, where the server is away for all the rest of it.
_FLUSH_S = 3.0
# How long cameras that nobody reads are left to processes that have fewer.
_LEFT_S = 10.0
# How many cameras are taken at once: a process that inherits hundreds of them must go on renewing its leases.
_CLAIMS_AT_ONCE = 16

RunnerFor = Callable[[str, Camera, Login], Runner]


class Fleet:
    """Runs cameras: `run` until it is cancelled, then `stop`.

    Those over INGEST_MAX_CAMERAS wait for another process, or for one that does not answer to give up its place: so a
    camera has its turn however many are dead.
    """

    def __init__(
        self,
        wanted: Mirror,
        credentials: Mirror,
        leases: Leases,
        changed: asyncio.Event,
        runner_for: RunnerFor,
        health: Health,
        settings: IngestSettings,
    ) -> None:
        self._wanted = wanted
        self._credentials = credentials
        self._leases = leases
        self._changed = changed
        self._runner_for = runner_for
        self._health = health
        self._most = settings.ingest_max_cameras
        self._most_grace_s = settings.ingest_grace_s
        self._untaken_s = settings.lease_s + _UNTAKEN_S
        self._deadline = math.inf
        self._running: dict[str, Runner] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._complained: dict[str, bytes] = {}
        self._full = False
        self._rotation = CameraRotation()
        self._giving_up: set[str] = set()
        self._all_read_at = 0.0
        self._log = logger("fleet")

    async def run(self) -> None:
        """Start and stop cameras until cancelled."""
        self._all_read_at = time.monotonic()
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), _LOOK_S)
            except TimeoutError:
                pass
            self._changed.clear()
            self._health.beat()
            await self._reconcile()

    async def stop(self) -> None:
        """Let others take the cameras; stop the rest, publish what they have read, and release them."""
        self._deadline = time.monotonic() + self._most_grace_s
        for name, runner in list(self._running.items()):
            if self._leases.waits(name) or (runner.unreached_s and not runner.leaving):
                self._stop(name, "stopped")
        await self._offer_all()
        # What nobody has taken yet stays ours until it is stored.
        await self._leases.offer(())
        for name in self._running.keys() - self._leases.leaving:
            self._stop(name, "stopped")
        # Of what others have taken just now they soon say from when on they read it.
        while self._running and time.monotonic() < self._deadline:
            self._hear()
            await asyncio.sleep(_POLL_S)
        for name in list(self._running):
            self._stop(name, None)
        stopping = list(self._stopping.values())
        if stopping and (busy := (await asyncio.wait(stopping, timeout=_SILENT_S))[1]):
            self._log.info("publishing what is buffered", cameras=len(busy), grace_s=self._most_grace_s)
        await asyncio.gather(*stopping)

    async def _offer_all(self) -> None:
        """Offer what we read, as long as others take of it. Who is alone, or cut off, can't give it to anybody."""
        if not self._running or not await self._hears_in_time():
            return
        offered = self._leases.owned & self._running.keys()
        if not offered or self._leases.processes() == 1:
            return
        self._log.info("handing cameras over", cameras=len(offered))
        await self._leases.go()
        until = time.monotonic() + self._untaken_s
        while offered and self._leases.processes() > 1 and time.monotonic() < min(self._deadline, until):
            free = await self._leases.offer(offered)
            await asyncio.sleep(_POLL_S)
            self._hear()
            left = offered & self._leases.owned
            if left != free or not self._leases.hears():
                until = time.monotonic() + self._untaken_s
            if not await self._hears_in_time():
                return
            offered = left

    async def _hears_in_time(self) -> bool:
        """Whether the server is there, or is back while there is time for more than to publish what is buffered."""
        if self._leases.hears():
            return True
        self._log.info("filming until the server is back", cameras=len(self._running), grace_s=self._most_grace_s)
        while self._running and not self._leases.hears() and time.monotonic() < self._deadline - _FLUSH_S:
            self._hear()
            await asyncio.sleep(_POLL_S)
        return self._leases.hears()

    async def _reconcile(self) -> None:
        wanted = self._enabled()
        self._hear()
        for name, runner in list(self._running.items()):
            if name not in wanted:
                self._stop(name, "disabled" if name in self._wanted.values else "removed")
            elif self._differs(runner, wanted[name]):
                self._stop(name, "changed")
        self._rotation.keep(wanted)
        for name in filter(self._leases.is_anothers, self._rotation.cameras):
            self._rotation.was_elsewhere(name)
        share = min(self._most, math.ceil(len(wanted) / self._leases.processes()))
        await self._leases.offer([n for n in self._running if n in self._leases.owned][share:])
        await self._claim(wanted, share)
        for name in self._leases.owned - self._running.keys() - self._stopping.keys():
            if name in wanted:
                self._start(name, wanted[name])
            else:
                await self._leases.release(name)

    def _hear(self) -> None:
        """Stop what others have."""
        # Before it is lost: what it has beyond that is no loss then.
        for name, runner in self._running.items():
            runner.leaving = name in self._leases.leaving
        self._leases.hear()
        for name in [n for n in self._running if n in self._leases.lost]:
            self._stop(name, None, until=self._leases.lost[name])
        self._leases.lost.clear()

    def _enabled(self) -> dict[str, Camera]:
        out: dict[str, Camera] = {}
        for name, value in self._wanted.values.items():
            if names.is_removed(name):
                continue
            try:
                camera = cameras.joined(cameras.decode(value), self._held(name))
                check_camera(name)
            except SettingError as e:
                if self._complained.get(name) != value:
                    self._complained[name] = value
                    self._log.error("camera can't be used", camera=name, error=str(e))
                continue
            if camera.enabled:
                out[name] = camera
        return out

    def _differs(self, runner: Runner, camera: Camera) -> bool:
        def connection(c: Camera) -> tuple[object, ...]:
            return c.url, c.transport, c.verify_tls, c.realtime, c.loop

        return connection(runner.camera) != connection(camera) or runner.login != self._login(runner.name, camera)

    def _held(self, name: str) -> Credentials | None:
        held = self._credentials.values.get(name)
        return credentials.decode(held) if held else None

    def _login(self, name: str, camera: Camera) -> Login:
        return credentials.login(name, camera.url, camera.verify_tls, self._credentials.values.get(name, b""))

    async def _claim(self, wanted: dict[str, Camera], share: int) -> None:
        """Take what is free, up to our share; and what the others leave, where we may take more."""
        owned = len(self._leases.owned | self._stopping.keys())
        free = [n for n in wanted if n not in self._stopping and self._leases.free(n)]
        # The order is random, so that two processes seldom ask for the same camera.
        random.shuffle(free)
        unread = sum(not self._leases.is_offered(n) for n in free)
        if not unread:
            self._all_read_at = time.monotonic()
        room = share - owned
        if time.monotonic() - self._all_read_at > _LEFT_S:
            room = max(room, min(unread, self._most - owned))
        at_once = max(0, min(room, _CLAIMS_AT_ONCE))
        if unread > room:
            # Of what is next, with as much for each process.
            free = sorted(free, key=self._rank)[: at_once * self._leases.processes()]
            random.shuffle(free)
        else:
            free.sort(key=self._leases.is_offered)
        await asyncio.gather(*(self._leases.claim(n) for n in free[:at_once]))
        if room > at_once and len(free) > at_once:
            self._changed.set()
        waiting = max(0, unread - max(0, self._most - owned))
        self._say_waiting(waiting)
        if waiting and self._leases.hears():
            self._give_up(waiting)

    def _rank(self, name: str) -> tuple[bool, float, int]:
        """Those that nobody reads come first; of these those that had their turn long ago, or never, and of the latter
        the newest, as who has just added a camera waits for it.
        """
        revision = self._revision(name)
        return self._leases.is_offered(name), self._rotation.of(name, revision).over_at, -revision

    def _give_up(self, waiting: int) -> None:
        """Let those that wait have the places of cameras that do not answer."""
        dead = (n for n, r in self._running.items() if r.unreached_s > TURN_S and not r.holds_video)
        for name in list(islice(dead, max(0, min(waiting - len(self._giving_up), _CLAIMS_AT_ONCE)))):
            runner = self._running[name]
            self._rotation.end(name, self._revision(name), runner.tries, runner.said)
            self._giving_up.add(name)
            self._stop(name, None)

    def _revision(self, name: str) -> int:
        return self._wanted.revision(name) or 0

    def _say_waiting(self, count: int) -> None:
        metrics.UNREAD.set(count)
        if count and not self._full:
            remedy = "run another ingest, or raise INGEST_MAX_CAMERAS"
            self._log.warning("no room for more cameras", waiting=count, most=self._most, remedy=remedy)
        self._full = count > 0

    def _start(self, name: str, camera: Camera) -> None:
        runner = self._running[name] = self._runner_for(name, camera, self._login(name, camera))
        turn = self._rotation.of(name, self._revision(name))
        runner.said, runner.tries = turn.said, turn.tries
        runner.start()

    def _stop(self, name: str, reason: str | None, until: float = math.inf) -> None:
        """Stop it in the background and then release it, unless it is to be started anew. See `Runner.stop`."""
        runner = self._running.pop(name)
        runner.leaving = runner.leaving or name in self._leases.leaving
        if runner.leaving:  # what else is to be said of it, another process says
            reason = None
        left_s = _CHANGED_S if reason == "changed" else max(_CHANGED_S, self._deadline - time.monotonic())
        grace_s = min(self._most_grace_s, left_s)
        if reason:
            self._rotation.forget(name)

        async def stop() -> None:
            try:
                # Who had it before has filmed it all the time, and has it again.
                if reason == "stopped" and self._leases.waits(name):
                    await runner.stop(None, 0.0, -math.inf)
                else:
                    await runner.stop(reason, grace_s, until)
                if reason != "changed":
                    await self._leases.release(name)
            finally:
                del self._stopping[name]
                self._giving_up.discard(name)
                self._changed.set()

        self._stopping[name] = asyncio.create_task(stop())
