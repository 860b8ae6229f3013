"""Ends the cameras of a process: hands them to other processes, and stores the video of the rest."""

from __future__ import annotations

import asyncio
import time

from services.ingest.camera.stop import StopCause
from services.ingest.sharing.running import RunningCameras
from shared.runtime.telemetry import logger

_POLL_S = 0.05
# A process that was away takes no camera for the length of a lease. If no process has taken another camera within this
# much longer, stop offering.
_NO_TAKER_S = 2.0
# A stop that takes longer is logged.
_SILENT_S = 1.0
# The part of the grace reserved for publishing the buffer, if the server is away for all the rest of it.
_FLUSH_S = 3.0


class Shutdown:
    """Takes at most INGEST_GRACE_S."""

    def __init__(self, cameras: RunningCameras) -> None:
        self._cameras = cameras
        self._leases = cameras.leases
        self._handover = cameras.handover
        settings = cameras.parts.settings
        self._grace_s = settings.ingest_grace_s
        self._no_taker_s = settings.lease_s + _NO_TAKER_S
        self._deadline = time.monotonic() + self._grace_s
        self._log = logger("fleet")

    async def run(self) -> None:
        """Let other processes take the cameras; stop the rest, publish what they have read, and release them."""
        running = self._cameras.running
        self._cameras.deadline = self._deadline
        leaving = self._handover.leaving
        unread = [name for name, r in running.items() if r.unreached_s and name not in leaving]
        self._cameras.stop({*unread, *filter(self._handover.waits, running)}, StopCause.ENDED)
        await self._offer_all()
        # A camera that no process has taken yet stays ours until its video is stored.
        await self._handover.offer(())
        self._cameras.stop(running.keys() - self._handover.leaving, StopCause.ENDED)
        # Processes that have just taken a camera soon announce from when on they read it.
        while running and time.monotonic() < self._deadline:
            self._cameras.stop_lost()
            await asyncio.sleep(_POLL_S)
        self._cameras.stop([*running], StopCause.TAKEN)
        stopping = [camera.task for camera in self._cameras.stopping.values()]
        if stopping and (busy := (await asyncio.wait(stopping, timeout=_SILENT_S))[1]):
            self._log.info("publishing what is buffered", cameras=len(busy), grace_s=self._grace_s)
        await asyncio.gather(*stopping)

    async def _offer_all(self) -> None:
        """Offer the cameras that we read, while other processes take some.

        A process that is alone, or cut off, can't hand over anything.
        """
        presence = self._leases.presence
        if not self._cameras.running or not await self._hears_in_time():
            return
        offered = self._leases.owned & self._cameras.running.keys()
        if not offered or presence.count() == 1:
            return
        self._log.info("handing cameras over", cameras=len(offered))
        await self._leases.withdraw()
        until = time.monotonic() + self._no_taker_s
        while offered and presence.count() > 1 and time.monotonic() < min(self._deadline, until):
            free = await self._handover.offer(offered)
            await asyncio.sleep(_POLL_S)
            self._cameras.stop_lost()
            left = offered & self._leases.owned
            if left != free or not presence.may_judge():
                until = time.monotonic() + self._no_taker_s
            if not await self._hears_in_time():
                return
            offered = left

    async def _hears_in_time(self) -> bool:
        """Wait for the server as long as time beyond publishing the buffer is left; return whether it is there."""
        may_judge, running = self._leases.presence.may_judge, self._cameras.running
        if may_judge():
            return True
        self._log.info("filming until the server is back", cameras=len(running), grace_s=self._grace_s)
        while running and not may_judge() and time.monotonic() < self._deadline - _FLUSH_S:
            self._cameras.stop_lost()
            await asyncio.sleep(_POLL_S)
        return may_judge()
