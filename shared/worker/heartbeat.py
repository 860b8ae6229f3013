"""A worker's heartbeat, for the scaler and the live view."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Literal

from nats.aio.client import Client

from shared.contract import names, stats
from shared.contract.stats import Costs, WorkerStats
from shared.worker import metrics


@dataclass(slots=True)
class WorkCounts:
    """Since the process began: messages with a result, failed tries, items computed, and seconds computing.

    wanted_s, work_s, frames_wanted, frames_analysed: as `WorkerStats` has them.
    backfilled, backfilling_s: messages backfilled, which count in neither of the first two, and their seconds.
    """

    processed: int = 0
    failed: int = 0
    items: int = 0
    busy_s: float = 0.0
    wanted_s: float = 0.0
    work_s: float = 0.0
    frames_wanted: int = 0
    frames_analysed: int = 0
    backfilled: int = 0
    backfilling_s: float = 0.0
    started: float = field(default_factory=time.monotonic)


class Heartbeat:
    """state: the worker's state in the next heartbeat."""

    def __init__(self, client: Client, service: str, replica: str, counts: WorkCounts) -> None:
        self.state: Literal["ready", "draining"] = "ready"
        self._client = client
        self._service = service
        self._replica = replica
        self._counts = counts
        self._occupied_s = 0.0

    def measure(self, in_flight: int, occupied_s: float) -> None:
        """Update the metrics. occupied_s: seconds with any message in flight, since the process began."""
        metrics.HELD.labels(self._service).set(in_flight)
        metrics.WORKING.labels(self._service).inc(occupied_s - self._occupied_s)
        self._occupied_s = occupied_s

    async def publish(self, model: str, in_flight: int, occupied_s: float, costs: Costs | None) -> None:
        """Publish a heartbeat. in_flight: messages taken or arrived. costs: of a segment, if its work is degradable."""
        self.measure(in_flight, occupied_s)
        if not self._client.is_connected:
            return
        beat = WorkerStats(
            service=self._service,
            replica=self._replica,
            pid=os.getpid(),
            state=self.state,
            model=model,
            uptime_s=time.monotonic() - self._counts.started,
            in_flight=in_flight,
            processed=self._counts.processed,
            failed=self._counts.failed,
            items=self._counts.items,
            busy_s=self._counts.busy_s,
            working_s=occupied_s,
            wanted_s=self._counts.wanted_s,
            work_s=self._counts.work_s,
            frames_wanted=self._counts.frames_wanted,
            frames_analysed=self._counts.frames_analysed,
            costs=costs,
            backfilled=self._counts.backfilled,
            backfilling_s=self._counts.backfilling_s,
        )
        await self._client.publish(names.stats(self._service, self._replica), stats.encode(beat))
