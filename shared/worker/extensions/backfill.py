"""Backfill of degraded work: what was deferred while capacity was short, a worker backfills while it is idle.

    job ──▶ is its segment stored? ──▶ time ──▶ prepare (threads) ──▶ time ──▶ infer ──▶ publish ──▶ acknowledge

There is time while nothing urgent is in flight, has arrived or waits. A worker checks again before each of the two
stages, so that urgent work waits for at most one of them. A worker without time holds one job, the oldest one delivered
to it, and checks periodically whether its segment is still stored. So jobs that have outlived their video are reported
by any running worker, however busy it is. Each costs a direct get.

A job is acknowledged once its revision, or the reason why there will be none, is stored. If the process dies in
between, the job is delivered again, and JetStream drops the second revision. A job that was delivered several times
without an answer may have killed workers, and is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.bus.direct import Stored
from shared.bus.no_wait import NoWaitFetcher
from shared.contract import deadletters, events, names
from shared.contract.events import Detections, Embeddings, Event, Lost
from shared.contract.reading.missing import Unread, check_readable
from shared.contract.work import backfill
from shared.contract.work.backfill import Backfill
from shared.runtime import telemetry
from shared.runtime.errors import BadMessage, Expired
from shared.runtime.tasks import end
from shared.worker import metrics
from shared.worker.device import DeviceError, Item
from shared.worker.extension import Extension
from shared.worker.extensions.deferral import RevisionPublisher
from shared.worker.extensions.spare import Spare
from shared.worker.in_flight import Delivery, InFlight, Source
from shared.worker.loop import Loop
from shared.worker.service import Message, P, R, preparing
from shared.worker.stopwatch import Stopwatch
from shared.worker.tuning import Tuning

T = TypeVar("T")


@dataclass(slots=True, eq=False, kw_only=True)
class Deferred(Message):
    """A segment that is processed again: the service reads the segment, and the answer goes to the job."""

    job: Backfill
    found: Stored

    @property
    def revises(self) -> str:
        return self.job.revises

    @property
    def data(self) -> bytes:
        return self.found.data

    @property
    def headers(self) -> Mapping[str, str]:
        return self.found.headers

    @property
    def subject(self) -> str:
        return self.found.subject

    @property
    def stream(self) -> str:
        return self.job.stream

    @property
    def seq(self) -> int:
        return self.found.seq

    @property
    def stored_at(self) -> float:
        return self.found.time.timestamp()


class _Turn(NamedTuple):
    """A job in flight whose segment is stored, and for which there is time."""

    delivery: Delivery
    job: Backfill
    found: Stored


class SegmentLookup:
    """Finds the segments of jobs."""

    def __init__(self, client: Client, tuning: Tuning) -> None:
        self._client = client
        self._tuning = tuning
        self._blind_since: float | None = None

    async def find(self, job: Backfill) -> Stored | None:
        """Return the segment; None once it is deleted. Raises nats.errors.Error, or TimeoutError without an answer."""
        while True:
            try:
                found = await direct.get(self._client, job.stream, seq=job.seq)
            except NotFoundError:
                if await self._is_deleted():
                    return None
                await asyncio.sleep(self._tuning.quiet_s)
            else:
                self._blind_since = None
                return found

    async def _is_deleted(self) -> bool:
        """Whether to believe that a segment is missing: a server that can't open its files finds nothing at all."""
        try:
            await check_readable(self._client.jetstream(), names.MEDIA, names.media(">"))
        except Unread:
            now = time.monotonic()
            self._blind_since = self._blind_since or now
            return now - self._blind_since >= self._tuning.blind_s
        self._blind_since = None
        return True


class Backfilling(Extension[P], Generic[P, R]):
    """spare: the worker's idle time. consumer: of BACKFILL.

    One segment a thread is processed concurrently, plus one on the device.
    """

    def __init__(self, loop: Loop[P, R], spare: Spare, consumer: str) -> None:
        self._client = loop.client
        self._service = loop.service
        self._device = loop.device
        self._exit = loop.heartbeat.exit
        self._counts = loop.counts
        self._tuning = loop.tuning
        self._lanes = loop.settings.threads + 1
        self._spare = spare
        self._consumer = consumer
        self._in_flight: InFlight[Delivery] = InFlight(loop.client, loop.service.name, loop.tuning)
        self._fetcher: NoWaitFetcher | None = None
        self._running: list[asyncio.Task[None]] = []
        self._working = Stopwatch()
        self._messages: set[Deferred] = set()
        self._turn = asyncio.Lock()
        self._segments = SegmentLookup(loop.client, loop.tuning)
        self._revisions = RevisionPublisher(loop.client, loop.service.name, loop.counts)
        self._log = telemetry.logger("backfill")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._in_flight

    def running_since(self) -> list[float | None]:
        return [message.preparing_since for message in self._messages]

    async def open(self) -> None:
        self._in_flight.sources.clear()
        await self._in_flight.open(names.BACKFILL, self._consumer)

    async def start(self) -> list[asyncio.Task[None]]:
        """Backfill deferred work whenever there is time."""
        for source in self._in_flight.sources:
            self._fetcher = NoWaitFetcher(self._client, names.BACKFILL, self._consumer)
            await self._fetcher.open()
            self._running = [asyncio.create_task(self._lane(self._fetcher, source)) for _ in range(self._lanes)]
        return self._running

    async def stop(self) -> None:
        """Hand back immediately all that is in flight, in whatever state it is."""
        await end(*self._running)
        if self._fetcher:
            await self._fetcher.close()
        for delivery in self._in_flight:
            if await self._in_flight.hand_back(delivery):
                metrics.HANDED_BACK.labels(self._service.name).inc()

    async def beat(self) -> None:
        self._counts.backfilling_s = self._working.seconds
        await self._in_flight.beat()

    async def hand_back(self) -> None:
        await self._in_flight.hand_back_all()

    async def _lane(self, fetcher: NoWaitFetcher, source: Source) -> None:
        while True:
            async with self._turn:
                turn = await self._next(fetcher, source)
            await self._run_or_nak(turn.delivery, self._backfill(turn))

    async def _next(self, fetcher: NoWaitFetcher, source: Source) -> _Turn:
        """Return the next job whose segment is still stored, once there is time. Report the others as lost."""
        while True:
            raw = await fetcher.next()
            if raw is None:
                await asyncio.sleep(self._tuning.quiet_s)
                continue
            delivery = self._in_flight.take(Delivery(raw, source))
            try:
                job = backfill.decode(self._service.name, delivery.subject, delivery.data)
            except BadMessage as e:
                await self._in_flight.dead_letter(delivery, str(e))
                continue
            segment = await self._run_or_nak(delivery, self._wait(delivery, job))
            if segment:
                return _Turn(delivery, job, segment)

    async def _wait(self, delivery: Delivery, job: Backfill) -> Stored | None:
        """Wait until there is time; return the segment, or None once it is published that the job is lost."""
        if delivery.deliveries >= self._tuning.most_tries:
            await self._lose(delivery, job, "unreadable")
            return None
        while (segment := await self._segments.find(job)) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tuning.spare_wait_s):
                    await self._spare.until(self._spare.has_time)
                return segment
        await self._lose(delivery, job, "expired")
        return None

    async def _backfill(self, turn: _Turn) -> None:
        """Process the segment in full, and publish its revision. Raises any error except those that are permanent."""
        delivery, job, found = turn
        span = telemetry.tracer().start_span(
            f"{self._service.name} backfill", context=telemetry.context_of(delivery.headers.get("traceparent"))
        )
        origin = deadletters.origin(job.stream, job.seq, found.headers)
        message = Deferred(delivery.raw, delivery.source, origin=origin, span=span, job=job, found=found)
        self._messages.add(message)
        try:
            event = await self._work(message)
        except Expired:
            return await self._lose(delivery, job, "expired")
        except BadMessage as e:
            self._log.warning("a segment can't be backfilled", camera=job.camera, origin=origin, error=str(e))
            return await self._lose(delivery, job, "unreadable")
        finally:
            self._messages.discard(message)
            span.end()
        assert isinstance(event, Detections | Embeddings)
        revision = backfill.revision(event, job.revises)
        is_new = await self._revisions.publish(job, revision, "done", telemetry.traceparent_of(span))
        self._counts.backfilled += is_new
        await self._in_flight.acknowledge(delivery)

    async def _work(self, message: Deferred) -> Event:
        """Return the service's event. Raises what the service raises."""
        async with self._spare.preparing(self._working, self._spare.has_time):
            with preparing(message):
                prepared = await self._service.prepare(message)
        async with self._spare.on_device(self._working, self._spare.has_time):
            try:
                (result,) = await self._device.infer([Item(message, prepared)])
            except DeviceError as e:
                await self._exit(str(e))
        if isinstance(result, Exception):
            raise result
        return self._service.event(message, prepared, result)

    async def _lose(self, delivery: Delivery, job: Backfill, why: Lost) -> None:
        await self._revisions.publish_lost(job, why, events.trace_of(delivery.headers))
        await self._in_flight.acknowledge(delivery)

    async def _run_or_nak(self, delivery: Delivery, work: Awaitable[T]) -> T | None:
        """Return what `work` returns. If it fails, nak the job with a growing delay, and return None."""
        try:
            return await work
        except Exception as e:
            delay_s = self._tuning.retry.after(delivery.deliveries)
            self._log.warning(
                "backfill failed, will be delivered again", seq=delivery.seq, delay_s=delay_s, error=repr(e)
            )
            await self._in_flight.nak(delivery, delay_s)
            return None
