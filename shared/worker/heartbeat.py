"""A worker's heartbeat: it reports progress, and ends the process once there is none.

JetStream learns that the messages in flight are in progress; the scaler and the live view what the worker does.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any, Literal, NoReturn

from nats.aio.client import Client

from shared.contract import names
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.telemetry import logger
from shared.worker import metrics
from shared.worker.counts import WorkCounts
from shared.worker.device import Device
from shared.worker.extension import Extensions
from shared.worker.in_flight import InFlight
from shared.worker.service import Message, Service
from shared.worker.settings import WorkerSettings

# The exit code of a process whose device is stuck or broken.
STUCK = 70


class Heartbeat:
    """state: the worker's state in the next heartbeat. extensions: of the loop."""

    def __init__(
        self,
        client: Client,
        service: Service[Any, Any],
        settings: WorkerSettings,
        counts: WorkCounts,
        in_flight: InFlight[Message],
        device: Device[Any, Any],
    ) -> None:
        self.state: Literal["ready", "draining"] = "ready"
        self.extensions: Extensions[Any] = Extensions()
        self._client = client
        self._service = service
        self._replica = settings.replica
        self._stuck_s = settings.stuck_s
        self._counts = counts
        self._in_flight = in_flight
        self._device = device
        self._device_name = settings.device
        self._occupied_s = 0.0

    async def beat(self) -> None:
        """Report progress to JetStream, and publish the heartbeat. A stuck device stops both."""
        began = [self._device.computing_since, *(message.preparing_since for message in self._in_flight)]
        began += self.extensions.running_since()
        if time.monotonic() - min((b for b in began if b), default=math.inf) > self._stuck_s:
            await self.exit(f"the work in flight made no progress for {self._stuck_s:.0f} s")
        await self._in_flight.beat()
        await self.extensions.beat()
        await self._publish()

    async def exit(self, reason: str) -> NoReturn:
        """End the process: a hanging thread can't be stopped, nor a broken device repaired, except by a restart."""
        logger("worker").error("handing back and exiting", reason=reason)
        await self._in_flight.hand_back_all()
        await self.extensions.hand_back()
        os._exit(STUCK)

    def measure(self) -> None:
        """Update the metrics of the messages in flight."""
        name, occupied_s = self._service.name, self._in_flight.occupied.seconds
        metrics.HELD.labels(name).set(self._count())
        metrics.WORKING.labels(name).inc(occupied_s - self._occupied_s)
        self._occupied_s = occupied_s

    def _count(self) -> int:
        """Return the number of messages in flight, and of those that arrived and are not taken yet."""
        return len(self._in_flight) + sum(len(source.arrived) for source in self._in_flight.sources)

    async def _publish(self) -> None:
        self.measure()
        if not self._client.is_connected:
            return
        beat = WorkerStats(
            service=self._service.name,
            replica=self._replica,
            pid=os.getpid(),
            state=self.state,
            model=self._service.model,
            uptime_s=time.monotonic() - self._counts.started,
            in_flight=self._count(),
            processed=self._counts.processed,
            failed=self._counts.failed,
            items=self._counts.items,
            busy_s=self._counts.busy_s,
            working_s=self._in_flight.occupied.seconds,
            wanted_s=self._counts.wanted_s,
            work_s=self._counts.work_s,
            frames_wanted=self._counts.frames_wanted,
            frames_analysed=self._counts.frames_analysed,
            frames_never=self._counts.frames_never,
            backfilled=self._counts.backfilled,
            backfilling_s=self._counts.backfilling_s,
            device=self._device_name,
        )
        await self._client.publish(names.stats(self._service.name, self._replica), stats.encode(beat))
