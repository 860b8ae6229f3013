"""Decides which cameras run in this process: after every change, it runs those that are wanted and leased."""

from __future__ import annotations

import asyncio
import contextlib
import time

from services.ingest import metrics
from services.ingest.camera.runner import Runner
from services.ingest.camera.stop import StopCause
from services.ingest.sharing import claims
from services.ingest.sharing.claims import CLAIMS_AT_ONCE, FreeCamera
from services.ingest.sharing.rotation import TURN_S, CameraRotation
from services.ingest.sharing.running import RunningCameras
from services.ingest.sharing.wanted import WantedCameras
from shared.contract.cameras import Camera
from shared.runtime.telemetry import Health, logger

# Interval of a check without a change: the end of a dead process's lease is not announced.
_RECONCILE_S = 0.5
# How long unread cameras are left to processes that have fewer.
_LEFT_S = 10.0


class Fleet:
    """Runs cameras: `run` until it is cancelled.

    Cameras over INGEST_MAX_CAMERAS wait for another process, or for a camera that does not answer to give up its place.
    So a camera has its turn however many are dead.
    """

    def __init__(self, wanted: WantedCameras, cameras: RunningCameras, changed: asyncio.Event, health: Health) -> None:
        self._wanted = wanted
        self._cameras = cameras
        self._leases = cameras.leases
        self._changed = changed
        self._health = health
        self._most = cameras.parts.settings.ingest_max_cameras
        self._full = False
        self._rotation = CameraRotation()
        self._all_read_at = 0.0
        self._log = logger("fleet")

    async def run(self) -> None:
        """Start and stop cameras until cancelled."""
        self._all_read_at = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RECONCILE_S):
                    await self._changed.wait()
            self._changed.clear()
            self._health.beat()
            await self._reconcile()

    async def _reconcile(self) -> None:
        wanted = self._wanted.enabled()
        self._cameras.stop_lost()
        self._stop_changed(wanted)
        self._rotation.keep(wanted)
        for name in self._rotation.cameras:
            if self._leases.newest(name).entry.is_of_another(self._leases.process):
                self._rotation.mark_elsewhere(name)
        share = claims.fair_share(len(wanted), self._leases.presence.count(), self._most)
        owned = self._leases.owned
        await self._cameras.handover.offer([n for n in self._cameras.running if n in owned][share:])
        await self._claim(wanted, share)
        for name in self._leases.owned - self._cameras.running.keys() - self._cameras.stopping.keys():
            if name in wanted:
                turn = self._rotation.of(name, self._wanted.revision(name))
                self._cameras.start(name, wanted[name], self._wanted.login(name, wanted[name]), turn)
            else:
                await self._leases.release(name)

    def _stop_changed(self, wanted: dict[str, Camera]) -> None:
        for name, runner in list(self._cameras.running.items()):
            if name not in wanted:
                self._cameras.stop([name], StopCause.DISABLED if self._wanted.is_listed(name) else StopCause.REMOVED)
            elif self._differs(runner, wanted[name]):
                self._rotation.forget(name)
                self._cameras.stop([name], StopCause.CHANGED)

    def _differs(self, runner: Runner, camera: Camera) -> bool:
        def connection(c: Camera) -> tuple[object, ...]:
            return c.url, c.detect, c.transport, c.verify_tls, c.realtime, c.loop

        login = self._wanted.login(runner.name, camera)
        return connection(runner.camera) != connection(camera) or runner.login != login

    async def _claim(self, wanted: dict[str, Camera], share: int) -> None:
        """Claim free cameras, up to our share, and those that other processes leave, if we may take more."""
        stopping = self._cameras.stopping
        owned = len(self._leases.owned | stopping.keys())
        free = [self._free(n) for n in wanted if n not in stopping and self._leases.is_free(n)]
        unread = sum(not camera.is_offered for camera in free)
        if not unread:
            self._all_read_at = time.monotonic()
        are_left = time.monotonic() - self._all_read_at > _LEFT_S
        room = claims.room_for_claims(share, owned, unread, self._most, are_left=are_left)
        first = claims.candidates(free, room, self._leases.presence.count())
        at_once = min(room, CLAIMS_AT_ONCE)
        await asyncio.gather(*(self._leases.claim(camera.name) for camera in first[:at_once]))
        if room > at_once and len(first) > at_once:
            self._changed.set()
        waiting = claims.waiting(owned, unread, self._most)
        self._report_waiting(waiting)
        if waiting and self._leases.presence.may_judge():
            self._yield_places(waiting)

    def _free(self, name: str) -> FreeCamera:
        revision = self._wanted.revision(name)
        is_offered = self._leases.newest(name).entry.offered
        return FreeCamera(name, is_offered, self._rotation.of(name, revision).over_at, revision)

    def _yield_places(self, waiting: int) -> None:
        """Give the places of cameras that do not answer to cameras that wait."""
        yielding = sum(camera.cause is StopCause.YIELDED for camera in self._cameras.stopping.values())
        dead = [
            runner
            for runner in self._cameras.running.values()
            if runner.unreached_s > TURN_S and not runner.pending_bytes
        ]
        for runner in dead[: max(0, min(waiting - yielding, CLAIMS_AT_ONCE))]:
            revision = self._wanted.revision(runner.name)
            self._rotation.end(runner.name, revision, runner.tries, runner.status.last_cause)
            self._cameras.stop([runner.name], StopCause.YIELDED)

    def _report_waiting(self, count: int) -> None:
        metrics.UNREAD.set(count)
        if count and not self._full:
            remedy = "run another ingest, or raise INGEST_MAX_CAMERAS"
            self._log.warning("no room for more cameras", waiting=count, most=self._most, remedy=remedy)
        self._full = count > 0
