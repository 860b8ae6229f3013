"""Decides which cameras run in this process: after every change, it runs those that are wanted and leased."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from itertools import islice

from services.ingest import metrics
from services.ingest.camera.runner import Runner
from services.ingest.settings import IngestSettings
from services.ingest.sharing.handover import Handover
from services.ingest.sharing.rotation import TURN_S, CameraRotation
from services.ingest.sharing.wanted import WantedCameras
from shared.bus.lease_state import Loss
from shared.bus.leases import Leases
from shared.contract.cameras import Camera
from shared.contract.credentials import Login
from shared.runtime.telemetry import Health, logger

# Interval of a check without a change: the end of a dead process's lease is not announced.
_LOOK_S = 0.5
_POLL_S = 0.05
# A process that was away takes no camera for the length of a lease. If no process has taken another camera within this
# much longer, stop offering.
_NO_TAKER_S = 2.0
# A stop that takes longer is logged.
_SILENT_S = 1.0
# A camera whose settings have changed gets at most this long to publish what it has: it is not read meanwhile.
_CHANGED_S = 3.0
# The part of the grace reserved for publishing the buffer, if the server is away for all the rest of it.
_FLUSH_S = 3.0
# How long unread cameras are left to processes that have fewer.
_LEFT_S = 10.0
# Concurrent claims: a process that inherits hundreds of cameras must go on renewing its leases.
_CLAIMS_AT_ONCE = 16

RunnerFor = Callable[[str, Camera, Login], Runner]


class Fleet:
    """Runs cameras: `run` until it is cancelled, then `stop`.

    A camera with a lease runs from `_start` to `_stop`, and is stopping until its video is stored. Then its lease is
    released. A camera whose settings have changed keeps its lease, and starts again.

    Cameras over INGEST_MAX_CAMERAS wait for another process, or for a camera that does not answer to give up its place.
    So a camera has its turn however many are dead.
    """

    def __init__(
        self,
        wanted: WantedCameras,
        leases: Leases,
        handover: Handover,
        changed: asyncio.Event,
        runner_for: RunnerFor,
        health: Health,
        settings: IngestSettings,
    ) -> None:
        self._wanted = wanted
        self._leases = leases
        self._handover = handover
        self._changed = changed
        self._runner_for = runner_for
        self._health = health
        self._most = settings.ingest_max_cameras
        self._most_grace_s = settings.ingest_grace_s
        self._no_taker_s = settings.lease_s + _NO_TAKER_S
        self._deadline: float | None = None
        self._running: dict[str, Runner] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
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
        """Let other processes take the cameras; stop the rest, publish what they have read, and release them."""
        deadline = self._deadline = time.monotonic() + self._most_grace_s
        for name, runner in list(self._running.items()):
            if self._handover.waits(name) or (runner.unreached_s and not runner.leaving):
                self._stop(name, "stopped")
        await self._offer_all(deadline)
        # A camera that no process has taken yet stays ours until its video is stored.
        await self._handover.offer(())
        for name in self._running.keys() - self._handover.leaving:
            self._stop(name, "stopped")
        # Processes that have just taken a camera soon announce from when on they read it.
        while self._running and time.monotonic() < deadline:
            self._stop_lost()
            await asyncio.sleep(_POLL_S)
        for name in list(self._running):
            self._stop(name, None)
        stopping = list(self._stopping.values())
        if stopping and (busy := (await asyncio.wait(stopping, timeout=_SILENT_S))[1]):
            self._log.info("publishing what is buffered", cameras=len(busy), grace_s=self._most_grace_s)
        await asyncio.gather(*stopping)

    async def _offer_all(self, deadline: float) -> None:
        """Offer the cameras that we read, while other processes take some.

        A process that is alone, or cut off, can't hand over anything.
        """
        if not self._running or not await self._hears_in_time(deadline):
            return
        offered = self._leases.owned & self._running.keys()
        if not offered or self._leases.presence.count() == 1:
            return
        self._log.info("handing cameras over", cameras=len(offered))
        await self._leases.presence.withdraw()
        until = time.monotonic() + self._no_taker_s
        while offered and self._leases.presence.count() > 1 and time.monotonic() < min(deadline, until):
            free = await self._handover.offer(offered)
            await asyncio.sleep(_POLL_S)
            self._stop_lost()
            left = offered & self._leases.owned
            if left != free or not self._leases.presence.may_judge():
                until = time.monotonic() + self._no_taker_s
            if not await self._hears_in_time(deadline):
                return
            offered = left

    async def _hears_in_time(self, deadline: float) -> bool:
        """Wait for the server as long as time beyond publishing the buffer is left; return whether it is there."""
        if self._leases.presence.may_judge():
            return True
        self._log.info("filming until the server is back", cameras=len(self._running), grace_s=self._most_grace_s)
        while self._running and not self._leases.presence.may_judge() and time.monotonic() < deadline - _FLUSH_S:
            self._stop_lost()
            await asyncio.sleep(_POLL_S)
        return self._leases.presence.may_judge()

    async def _reconcile(self) -> None:
        wanted = self._wanted.enabled()
        self._stop_lost()
        for name, runner in list(self._running.items()):
            if name not in wanted:
                self._stop(name, "disabled" if self._wanted.is_listed(name) else "removed")
            elif self._differs(runner, wanted[name]):
                self._stop(name, "changed")
        self._rotation.keep(wanted)
        for name in self._rotation.cameras:
            if self._leases.newest(name).entry.is_of_another(self._leases.process):
                self._rotation.mark_elsewhere(name)
        share = min(self._most, math.ceil(len(wanted) / self._leases.presence.count()))
        owned = self._leases.owned
        await self._handover.offer([n for n in self._running if n in owned][share:])
        await self._claim(wanted, share)
        for name in self._leases.owned - self._running.keys() - self._stopping.keys():
            if name in wanted:
                self._start(name, wanted[name])
            else:
                await self._leases.release(name)

    def _stop_lost(self) -> None:
        """Stop the cameras that other processes have taken."""
        # Set this before the camera is lost: what it reads beyond that is no loss then.
        leaving = self._handover.leaving
        for name, runner in self._running.items():
            runner.leaving = name in leaving
        self._handover.update()
        for name, loss in self._leases.take_lost().items():
            if name in self._running:
                self._stop(name, None, loss)

    def _differs(self, runner: Runner, camera: Camera) -> bool:
        def connection(c: Camera) -> tuple[object, ...]:
            return c.url, c.transport, c.verify_tls, c.realtime, c.loop

        login = self._wanted.login(runner.name, camera)
        return connection(runner.camera) != connection(camera) or runner.login != login

    async def _claim(self, wanted: dict[str, Camera], share: int) -> None:
        """Claim free cameras, up to our share, and those that other processes leave, if we may take more."""
        owned = len(self._leases.owned | self._stopping.keys())
        free = [n for n in wanted if n not in self._stopping and self._leases.is_free(n)]
        # The order is random, so that two processes seldom claim the same camera.
        random.shuffle(free)
        unread = sum(not self._is_offered(n) for n in free)
        if not unread:
            self._all_read_at = time.monotonic()
        room = share - owned
        if time.monotonic() - self._all_read_at > _LEFT_S:
            room = max(room, min(unread, self._most - owned))
        at_once = max(0, min(room, _CLAIMS_AT_ONCE))
        if unread > room:
            # The next cameras in rank, the same number for each process.
            free = sorted(free, key=self._rank)[: at_once * self._leases.presence.count()]
            random.shuffle(free)
        else:
            free.sort(key=self._is_offered)
        await asyncio.gather(*(self._leases.claim(n) for n in free[:at_once]))
        if room > at_once and len(free) > at_once:
            self._changed.set()
        waiting = max(0, unread - max(0, self._most - owned))
        self._report_waiting(waiting)
        if waiting and self._leases.presence.may_judge():
            self._give_up(waiting)

    def _rank(self, name: str) -> tuple[bool, float, int]:
        """The sort key of a claim: unread cameras first, then those whose last turn is longest ago.

        Among cameras without a turn the newest comes first: somebody who has just added one waits for it.
        """
        revision = self._wanted.revision(name)
        return self._is_offered(name), self._rotation.of(name, revision).over_at, -revision

    def _is_offered(self, name: str) -> bool:
        return self._leases.newest(name).entry.offered

    def _give_up(self, waiting: int) -> None:
        """Give the places of cameras that do not answer to cameras that wait."""
        dead = (n for n, r in self._running.items() if r.unreached_s > TURN_S and not r.has_unstored_video)
        for name in list(islice(dead, max(0, min(waiting - len(self._giving_up), _CLAIMS_AT_ONCE)))):
            runner = self._running[name]
            self._rotation.end(name, self._wanted.revision(name), runner.tries, runner.last_cause)
            self._giving_up.add(name)
            self._stop(name, None)

    def _report_waiting(self, count: int) -> None:
        metrics.UNREAD.set(count)
        if count and not self._full:
            remedy = "run another ingest, or raise INGEST_MAX_CAMERAS"
            self._log.warning("no room for more cameras", waiting=count, most=self._most, remedy=remedy)
        self._full = count > 0

    def _start(self, name: str, camera: Camera) -> None:
        runner = self._running[name] = self._runner_for(name, camera, self._wanted.login(name, camera))
        turn = self._rotation.of(name, self._wanted.revision(name))
        runner.last_cause, runner.tries = turn.cause, turn.tries
        runner.start()

    def _stop(self, name: str, reason: str | None, loss: Loss | None = None) -> None:
        """Stop a camera in the background and release it, unless it restarts. See `Runner.stop`."""
        runner = self._running.pop(name)
        runner.leaving = runner.leaving or name in self._handover.leaving
        if runner.leaving:  # the other process announces its further state
            reason = None
        left_s = self._most_grace_s if self._deadline is None else self._deadline - time.monotonic()
        grace_s = min(self._most_grace_s, _CHANGED_S if reason == "changed" else max(_CHANGED_S, left_s))
        if reason:
            self._rotation.forget(name)

        async def stop() -> None:
            try:
                # The previous holder has filmed it all the time, and keeps it.
                if reason == "stopped" and self._handover.waits(name):
                    await runner.stop(None, 0.0, Loss(was_ours=False))
                else:
                    await runner.stop(reason, grace_s, loss)
                if reason != "changed":
                    await self._leases.release(name)
            finally:
                del self._stopping[name]
                self._giving_up.discard(name)
                self._changed.set()

        self._stopping[name] = asyncio.create_task(stop())
