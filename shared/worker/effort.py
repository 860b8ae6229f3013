"""How much of each message is looked at, and what it takes: the loop's part in elastic quality.

effort = Effort(settings, counts, service="cv")
effort.watching(client, "MEDIA", "cv")         # tasks that follow the server's clock, until cancelled
effort.bend(message, high=False)               # the level at which it is looked at
effort.prepared(prepared); effort.computed(batch, seconds); effort.delivered(prepared)
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
from shared.worker.service import Looked, Message, Prepared
from shared.worker.settings import WorkerSettings

# How often the server is asked for its clock.
_ASK_S = 20.0


class Effort:
    """One for a worker. Where `latency_target_s` is 0 nothing bends; what segments take is measured all the same."""

    def __init__(self, settings: WorkerSettings, counts: WorkCounts, service: str) -> None:
        self._brownout = Brownout(settings.latency_target_s) if settings.latency_target_s else None
        self._clock = ServerClock()
        self._costs = CostMeter(settings.threads)
        self._counts = counts
        self._service = service
        self._has_looked = False

    def watching(self, client: Client, stream: str, consumer: str) -> list[asyncio.Task[None]]:
        """Follow the server's clock where anything bends by it; while it can't be asked, ours goes on from it."""
        return [asyncio.create_task(self._watch(client, stream, consumer))] if self._brownout else []

    async def _watch(self, client: Client, stream: str, consumer: str) -> None:
        while True:
            await self.look_at_clock(client, stream, consumer)
            await asyncio.sleep(_ASK_S)

    async def look_at_clock(self, client: Client, stream: str, consumer: str) -> None:
        """Ask the server for its clock, where that is needed."""
        if not self._brownout:
            return
        try:
            shown = await clock.asked(client, stream, consumer)
            self._clock.note(time.monotonic(), shown)
        except (TimeoutError, nats.errors.Error) as e:
            logger("worker").debug("the server's clock can't be read", error=repr(e))

    def bend(self, message: Message, high: bool) -> Level:
        """How much of a message is looked at now."""
        if not self._brownout:
            return LEVELS[0]
        age_s = self._clock.server(time.monotonic()) - message.stored_at
        place = brownout.place(message.raw.subject, message.stored_at)
        return LEVELS[self._brownout.level(age_s, place=place, high=high)]

    def prepared(self, prepared: object) -> None:
        """A message was prepared."""
        if isinstance(prepared, Looked) and prepared.decoded:
            self._has_looked = True
            self._costs.decoded(prepared.decoded)

    def computed(self, batch: Sequence[Prepared], seconds: float) -> None:
        """A batch was computed. seconds: of a replica."""
        images = sum(p.look.images if isinstance(p, Looked) and p.look else p.weight for p in batch)
        if images:
            self._costs.computed(images, seconds)

    def delivered(self, prepared: object) -> None:
        """Its result is stored. Where nothing bends, nothing is said: the scaler plans a leaner fleet where it is."""
        look = prepared.look if self._brownout and isinstance(prepared, Looked) else None
        if look is None:
            return
        costs, counts = self._costs, self._counts
        wanted_s = costs.replica_s(look.key, look.wanted_rest, look.wanted_images)
        work_s = costs.replica_s(look.key, look.rest, look.images)
        counts.wanted_s += wanted_s
        counts.work_s += work_s
        metrics.WORK_WANTED.labels(self._service).inc(wanted_s)
        metrics.WORK.labels(self._service).inc(work_s)
        counts.frames_wanted += look.wanted
        counts.frames_looked += look.frames
        metrics.FRAMES_WANTED.labels(self._service).inc(look.wanted)
        metrics.FRAMES_LOOKED.labels(self._service).inc(look.frames)
        if quality := look.quality:
            metrics.FRAMES_DEFERRED.labels(self._service, quality.cause).inc(look.wanted - look.frames)

    @property
    def costs(self) -> Costs | None:
        """As the heartbeat says them; None where nothing was looked at yet."""
        if not self._has_looked:
            return None
        return Costs(key_s=self._costs.key_s, rest_s=self._costs.rest_s, image_s=self._costs.image_s)
