"""The cameras that run in this process, from their start until their video is stored and their lease released."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from functools import partial
from typing import NamedTuple

from services.ingest.camera.runner import CameraLease, Runner
from services.ingest.camera.stop import Stop, StopCause
from services.ingest.camera.stream_runner import ProcessParts
from services.ingest.sharing.handover import Handover
from services.ingest.sharing.rotation import Tenure
from shared.bus.leasing.leases import Leases
from shared.contract.cameras import Camera
from shared.contract.credentials import Login

# A camera whose settings have changed gets at most this long to publish what it has: it is not read meanwhile.
_CHANGED_S = 3.0


class _Stopping(NamedTuple):
    cause: StopCause
    task: asyncio.Task[None]


class RunningCameras:
    """The cameras of which this process has the lease.

    | state | event | next state |
    |---|---|---|
    | leased | `start` | in `running` |
    | in `running` | `stop`, `stop_lost` | in `stopping` |
    | in `stopping` | its video is stored, or the grace is over | released; after CHANGED leased |

    deadline: when the process has to end, in monotonic seconds.
    """

    def __init__(self, leases: Leases, handover: Handover, changed: asyncio.Event, parts: ProcessParts) -> None:
        self.running: dict[str, Runner] = {}
        self.stopping: dict[str, _Stopping] = {}
        self.deadline = math.inf
        self.leases = leases
        self.handover = handover
        self.parts = parts
        self._changed = changed

    def start(self, name: str, camera: Camera, login: Login, turn: Tenure) -> None:
        lease = CameraLease(
            partial(self.leases.holds, name),
            partial(self.handover.owns, name),
            partial(self.handover.waits, name),
            partial(self.handover.start, name),
        )
        runner = self.running[name] = Runner(name, camera, login, self.parts, lease, turn.tries, turn.cause)
        runner.start()

    def stop(self, names: Collection[str], cause: StopCause) -> None:
        """Stop cameras in the background. What another process has taken is that process's to announce."""
        leaving = self.handover.leaving
        for name in names:
            self._stop(name, Stop(StopCause.TAKEN if name in leaving else cause))

    def stop_lost(self) -> None:
        """Stop the cameras that other processes have taken."""
        # Read before the update, which may lose them.
        leaving = self.handover.leaving
        self.handover.update()
        for name, loss in self.leases.take_lost().items():
            if name in self.running:
                self._stop(name, Stop.after(loss, leaving=name in leaving))

    def _stop(self, name: str, stop: Stop) -> None:
        runner = self.running.pop(name)
        most_s = self.parts.settings.ingest_grace_s
        left_s = _CHANGED_S if stop.cause is StopCause.CHANGED else max(_CHANGED_S, self.deadline - time.monotonic())
        task = asyncio.create_task(self._until_stopped(runner, stop, min(most_s, left_s)))
        self.stopping[name] = _Stopping(stop.cause, task)

    async def _until_stopped(self, runner: Runner, stop: Stop, flush_s: float) -> None:
        try:
            # Only now is it known that we have not begun.
            if stop.cause is StopCause.ENDED and self.handover.waits(runner.name):
                stop = Stop(StopCause.NOT_BEGUN)
            await runner.stop(stop, flush_s)
            if stop.cause is not StopCause.CHANGED:
                await self.leases.release(runner.name)
        finally:
            del self.stopping[runner.name]
            self._changed.set()
