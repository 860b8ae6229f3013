"""The level of each message and its cost: the loop's part in elastic quality.

effort = Effort(settings, counts, service="cv")
effort.follow_clock(client, "MEDIA", "cv")     # tasks that follow the server's clock, until cancelled
effort.level(message, high=False)              # the level at which it is analysed
effort.record_prepared(prepared); effort.record_batch(batch, seconds); effort.record_stored(prepared)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import nats.errors
from nats.aio.client import Client

from shared.bus import clock
from shared.bus.clock import ServerClock
from shared.contract.stats import Costs
from shared.elastic import brownout
from shared.elastic.brownout import Brownout
from shared.elastic.costs import CostMeter
from shared.elastic.levels import LEVELS, Level
from shared.runtime.telemetry import logger
from shared.worker import metrics
from shared.worker.heartbeat import WorkCounts
from shared.worker.service import Degradable, Message, Prepared
from shared.worker.settings import WorkerSettings

# The interval between reads of the server's clock.
_CLOCK_INTERVAL_S = 20.0


class Effort:
    """One per worker. If `latency_target_s` is 0, nothing degrades; the cost of segments is measured anyway."""

    def __init__(self, settings: WorkerSettings, counts: WorkCounts, service: str) -> None:
        self._brownout = Brownout(settings.latency_target_s) if settings.latency_target_s else None
        self._clock = ServerClock()
        self._costs = CostMeter(settings.threads)
        self._counts = counts
        self._service = service
        self._has_decoded = False

    def follow_clock(self, client: Client, stream: str, consumer: str) -> list[asyncio.Task[None]]:
        """Follow the server's clock if work may degrade; while it can't be read, our clock continues from it."""
        return [asyncio.create_task(self._follow_clock(client, stream, consumer))] if self._brownout else []

    async def _follow_clock(self, client: Client, stream: str, consumer: str) -> None:
        while True:
            await self.read_clock(client, stream, consumer)
            await asyncio.sleep(_CLOCK_INTERVAL_S)

    async def read_clock(self, client: Client, stream: str, consumer: str) -> None:
        """Read the server's clock, if it is needed."""
        if not self._brownout:
            return
        try:
            server_s = await clock.read(client, stream, consumer)
            self._clock.note(time.monotonic(), server_s)
        except (TimeoutError, nats.errors.Error) as e:
            logger("worker").debug("the server's clock can't be read", error=repr(e))

    def level(self, message: Message, high: bool) -> Level:
        """Return the level at which a message is analysed now."""
        if not self._brownout:
            return LEVELS[0]
        age_s = self._clock.server(time.monotonic()) - message.stored_at
        place = brownout.place(message.raw.subject, message.stored_at)
        return LEVELS[self._brownout.level(age_s, place=place, high=high)]

    def record_prepared(self, prepared: object) -> None:
        """Record a prepared message."""
        if isinstance(prepared, Degradable) and prepared.decoded:
            self._has_decoded = True
            self._costs.record_decode(prepared.decoded)

    def record_batch(self, batch: Sequence[Prepared], seconds: float) -> None:
        """Record a computed batch. seconds: of a replica."""
        images = sum(p.plan.images if isinstance(p, Degradable) and p.plan else p.weight for p in batch)
        if images:
            self._costs.record_batch(images, seconds)

    def record_stored(self, prepared: object) -> None:
        """Record a stored result. Without degradation, report nothing: reports make the scaler plan fewer replicas."""
        plan = prepared.plan if self._brownout and isinstance(prepared, Degradable) else None
        if plan is None:
            return
        costs, counts = self._costs, self._counts
        wanted_s = costs.replica_s(plan.key, plan.wanted_rest, plan.wanted_images)
        work_s = costs.replica_s(plan.key, plan.rest, plan.images)
        counts.wanted_s += wanted_s
        counts.work_s += work_s
        metrics.WORK_WANTED.labels(self._service).inc(wanted_s)
        metrics.WORK.labels(self._service).inc(work_s)
        counts.frames_wanted += plan.wanted
        counts.frames_analysed += plan.frames
        metrics.FRAMES_WANTED.labels(self._service).inc(plan.wanted)
        metrics.FRAMES_LOOKED.labels(self._service).inc(plan.frames)
        if quality := plan.quality:
            metrics.FRAMES_DEFERRED.labels(self._service, quality.cause).inc(plan.wanted - plan.frames)

    @property
    def costs(self) -> Costs | None:
        """As in the heartbeat; None before the first segment."""
        if not self._has_decoded:
            return None
        return Costs(key_s=self._costs.key_s, rest_s=self._costs.rest_s, image_s=self._costs.image_s)
