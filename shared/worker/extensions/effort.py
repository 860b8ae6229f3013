"""Elastic quality: the level of each message by its age, and the cost of what was analysed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import nats.errors

from shared.bus import clock
from shared.bus.clock import ServerClock
from shared.contract.events import Event
from shared.elastic import brownout
from shared.elastic.brownout import Brownout
from shared.elastic.costs import CostMeter
from shared.elastic.levels import LEVELS, Level
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger
from shared.worker import metrics
from shared.worker.extension import Extension
from shared.worker.loop import Loop
from shared.worker.service import Degradable, Message, P, R

# The interval between reads of the server's clock.
_CLOCK_INTERVAL_S = 20.0


class Effort(Extension[P]):
    """If `latency_target_s` is 0, nothing degrades; the cost of segments is measured anyway.

    is_backfilled: whether deferred frames are analysed later, or never.
    """

    def __init__(self, loop: Loop[P, R], *, is_backfilled: bool) -> None:
        self._is_backfilled = is_backfilled
        settings = loop.settings
        self._brownout = Brownout(settings.latency_target_s) if settings.latency_target_s else None
        self._clock = ServerClock()
        self._costs = CostMeter(settings.threads)
        self._counts = loop.counts
        self._client = loop.client
        self._consumer = loop.consumers[0]
        self._service = loop.service.name
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the server's clock: a replica that starts into a backlog can't tell the age of messages from them."""
        await self._read_clock()

    async def start(self) -> list[asyncio.Task[None]]:
        """Follow the server's clock if work may degrade."""
        self._following = asyncio.create_task(self._follow_clock()) if self._brownout else None
        return [self._following] if self._following else []

    async def close(self) -> None:
        await end(self._following)

    async def _follow_clock(self) -> None:
        while True:
            await self._read_clock()
            await asyncio.sleep(_CLOCK_INTERVAL_S)

    async def _read_clock(self) -> None:
        """Read the server's clock, if it is needed. Until it can be read again, our clock continues from it."""
        if not self._brownout:
            return
        try:
            server_s = await clock.read(self._client, *self._consumer)
            self._clock.note(time.monotonic(), server_s)
        except (TimeoutError, nats.errors.Error) as e:
            logger("worker").debug("the server's clock can't be read", error=repr(e))

    def received(self, message: Message) -> None:
        message.level_of = self.level

    def level(self, message: Message, high: bool) -> Level:
        """Return the level at which a message is analysed now."""
        if not self._brownout:
            return LEVELS[0]
        age_s = self._clock.server(time.monotonic()) - message.stored_at
        place = brownout.place(message.raw.subject, message.stored_at)
        return LEVELS[self._brownout.level(age_s, place=place, high=high)]

    def prepared(self, message: Message, prepared: P) -> None:
        if isinstance(prepared, Degradable) and prepared.decoded:
            self._costs.record_decode(prepared.decoded)

    def computed(self, batch: Sequence[P], seconds: float) -> None:
        images = sum(p.plan.images if isinstance(p, Degradable) and p.plan else p.weight for p in batch)
        if images:
            self._costs.record_batch(images, seconds)

    def stored(self, prepared: P, event: Event) -> None:
        """Count the work. Without degradation, report nothing: reports make the scaler plan fewer replicas."""
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
        metrics.FRAMES_ANALYSED.labels(self._service).inc(plan.frames)
        if quality := plan.quality:
            deferred = plan.wanted - plan.frames
            metrics.FRAMES_DEFERRED.labels(self._service, quality.cause).inc(deferred)
            if not self._is_backfilled:
                counts.frames_never += deferred
                metrics.FRAMES_NEVER.labels(self._service).inc(deferred)
