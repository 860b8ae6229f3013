"""The worker loop: pull, prepare, batch, infer, publish, acknowledge. cv, embed and vlm supply three functions.

    pull ──▶ prepare (threads) ──▶ batch ──▶ infer (device) ──▶ publish ──▶ acknowledge

Small bounded queues keep both the threads and the device busy. The credit of the pull bounds the messages in flight.
Each urgency has a consumer of its own, perhaps of another stream. Urgent messages overtake all that is not on the
device yet, and wait for nothing that is already prepared.

A result's id is made of the message's own sequence. The message is acknowledged only after the PubAck of its result. If
the process dies in between, the message is delivered again and JetStream drops the second result. If a result is
degraded, its backfill job is stored before it.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Generic

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import bus
from shared.bus.pull import Puller
from shared.contract import deadletters, events, names
from shared.runtime import progress, telemetry
from shared.runtime.errors import Away, BadMessage
from shared.runtime.tasks import end, supervise, unless
from shared.service.process import STARTED, beat
from shared.service.usage import Keeper
from shared.worker import metrics
from shared.worker.backfill import Backfilling
from shared.worker.batching import Batcher
from shared.worker.device import Device, DeviceError, Item
from shared.worker.drain import drain
from shared.worker.effort import Effort
from shared.worker.heartbeat import Heartbeat, WorkCounts
from shared.worker.in_flight import InFlight, Source
from shared.worker.quarantine import Arrived, Quarantine, suspect_from
from shared.worker.second import SecondPass, SecondPassService
from shared.worker.service import AnsweredBefore, Message, P, R, Service, result_id
from shared.worker.settings import WorkerSettings
from shared.worker.spare import Spare
from shared.worker.stream_health import StreamHealthReporter
from shared.worker.tuning import Tuning
from shared.worker.usage import EVERY_S, Meter

# The exit code of a process whose device is stuck or broken.
STUCK = 70


class Worker(Generic[P, R]):
    """Runs a service over its consumers until it is stopped. One instance per process."""

    def __init__(
        self,
        client: Client,
        service: Service[P, R],
        settings: WorkerSettings,
        health: telemetry.Health,
        *,
        consumers: Sequence[tuple[str, str]],
        backfill: str = "",
        second_pass: SecondPassService[P, R] | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        """consumers: (stream, consumer) pairs, the most urgent first. backfill: that of BACKFILL, if it defers work.

        second_pass: the service, if it runs second passes over recorded video while it is idle.
        """
        self._client = client
        self._js = client.jetstream()
        self._service = service
        self._settings = settings
        self._health = health
        self._consumers = consumers
        self._tuning = tuning or Tuning()
        self._log = telemetry.logger("worker")
        self._counts = WorkCounts()
        self._heartbeat = Heartbeat(client, service.name, settings.replica, self._counts)
        self._in_flight: InFlight[Message] = InFlight(client, service.name, self._tuning)
        self._sources: list[Source] = []
        self._quarantine = Quarantine(())
        self._taking = asyncio.Lock()
        self._batcher: Batcher[Item[P]] = Batcher(settings.batch_size, settings.batch_wait_s, ranks=len(consumers))
        self._stream_health = StreamHealthReporter(client, service.name, settings.replica)
        self._effort = Effort(settings, self._counts, service.name)
        self._device = Device(service, self._counts, slots=settings.slots, failures=self._tuning.device_failures)
        self._meter = Meter(self._counts, lambda: self._in_flight.occupied_s, time.monotonic() - STARTED)
        self._usage = Keeper(client, service.name, self._meter.take, every_s=EVERY_S)
        self._answering: set[asyncio.Task[None]] = set()
        spare = Spare(self._in_flight, threads=settings.threads, poll_s=self._tuning.poll_s)
        self._backfilling = Backfilling(
            client,
            service,
            self._device,
            spare,
            backfill,
            threads=settings.threads,
            tuning=self._tuning,
            broken=self._exit,
        )
        self._second_pass = self._new_second_pass(second_pass, spare) if second_pass else None

    def _new_second_pass(self, service: SecondPassService[P, R], spare: Spare) -> SecondPass[P, R]:
        return SecondPass(
            self._client,
            service,
            self._device,
            spare,
            replica=self._settings.replica,
            is_free=lambda: self._backfilling.is_idle,
            threads=self._settings.threads,
            tuning=self._tuning,
            broken=self._exit,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain; may run again after that.

        Raises BusError if a consumer is not there or the server closes.
        """
        await unless(stop, bus.answered(self._client, self._health, self._open))
        if stop.is_set():
            return
        self._start_up()
        async with AsyncExitStack() as pulling:
            for source in self._sources:
                await pulling.enter_async_context(self._pull(source))
            later = [*await self._backfilling.begin(), *(self._second_pass.begin() if self._second_pass else [])]
            prepare, infer, beats = self._begin()
            try:
                await supervise(*prepare, *infer, *later, *beats, stop=stop)
            finally:
                await self._backfilling.stop()
                if self._second_pass:
                    await self._second_pass.stop()
                await self._drain(prepare, infer)
                await end(*beats)
                await self._stream_health.close()
                await self._usage.close()
                self._device.close()

    async def _open(self) -> None:
        """Read the configuration of the consumers."""
        self._in_flight.close()
        self._sources = [await self._in_flight.open(stream, consumer) for stream, consumer in self._consumers]
        # A replica that starts into a backlog sees only old messages, and can't tell their age from them.
        await self._effort.read_clock(self._client, *self._consumers[0])
        await self._backfilling.open()

    def _start_up(self) -> None:
        """Start the device's thread."""
        at_least, is_server = self._tuning.suspect_deliveries, self._device.is_server
        self._quarantine = Quarantine(
            tuple(suspect_from(s.max_deliver, at_least=at_least, is_server=is_server) for s in self._sources)
        )
        self._heartbeat.state = "ready"
        self._device.open()

    def _pull(self, source: Source) -> AbstractAsyncContextManager[Puller]:
        return self._in_flight.pull(source, messages=self._settings.hold, max_bytes=self._settings.hold_bytes)

    def _begin(self) -> tuple[list[asyncio.Task[None]], ...]:
        """Start the tasks that prepare, those that infer, and those that run until the drain is over."""
        self._health.ready = None
        self._log.info("ready", model=self._service.model, batch_size=self._settings.batch_size)
        threads = range(self._settings.threads)
        ranks = len(self._sources)
        # The slot reserved for the most urgent takes batches of the first rank only.
        slots = [ranks] * self._settings.slots + [1] * (ranks > 1)
        return (
            [asyncio.create_task(self._prepare_loop(source)) for source in self._sources for _ in threads],
            [asyncio.create_task(self._infer_loop(most)) for most in slots],
            [
                asyncio.create_task(beat(self._client, self._health, self._beat, every_s=self._in_flight.beat_s)),
                asyncio.create_task(self._usage.run()),
                *self._effort.follow_clock(self._client, *self._consumers[0]),
            ],
        )

    # ---- pull and prepare

    async def _prepare_loop(self, source: Source) -> None:
        while True:
            await source.puller.some()
            async with self._taking:
                message = await self._next(source)
            if message is not None:
                await self._prepare(message)

    async def _next(self, source: Source) -> Message | None:
        """Return the next message to prepare: the oldest of `source`, or the quarantine's choice after a suspect."""
        if not self._has_suspect():
            arrived = source.arrived
            return self._receive(source, source.puller.take(arrived[0])) if arrived else None
        # A poison message that kills this process costs every unanswered message one of its deliveries.
        await asyncio.gather(*(s.puller.pause() for s in self._sources))
        found = self._arrived()
        turn = self._quarantine.next([arrived for arrived, _, _ in found])
        if turn is None:  # a drain took them
            return None
        _, chosen, raw = found[turn.which]
        message = self._receive(chosen, chosen.puller.take(raw))
        if not turn.alone:
            return message
        if message:
            await self._work_alone(message)
        await asyncio.gather(*(s.puller.resume() for s in self._sources))
        if len(found) > 1:
            await asyncio.sleep(self._tuning.between_suspects_s)
        return None

    async def _work_alone(self, message: Message) -> None:
        """Prepare it once nothing else is in flight, and return once it is answered."""
        await self._in_flight.until(lambda: len(self._in_flight) == 1)
        await self._prepare(message)
        await self._in_flight.until(lambda: not self._in_flight)

    def _has_suspect(self) -> bool:
        is_suspect = self._quarantine.is_suspect
        return any(is_suspect(s.rank, raw.metadata.num_delivered) for s in self._sources for raw in s.arrived)

    def _arrived(self) -> list[tuple[Arrived, Source, Msg]]:
        """The messages that arrived and are not taken yet, by urgency, then by age."""
        return [
            (Arrived(source.rank, raw.metadata.sequence.stream, raw.metadata.num_delivered), source, raw)
            for source in self._sources
            for raw in source.arrived
        ]

    def _receive(self, source: Source, raw: Msg) -> Message | None:
        """Take a message. Return None for one of another service only, which is acknowledged."""
        meta = raw.metadata
        headers = raw.headers or {}
        origin = deadletters.origin(meta.stream, meta.sequence.stream, headers)
        span = telemetry.tracer().start_span(
            self._service.name,
            context=telemetry.context_of(headers.get("traceparent")),
            attributes={"messaging.system": "nats", "tidegate.stream": meta.stream, "tidegate.origin": origin},
        )
        message = self._in_flight.take(Message(raw, source, origin=origin, span=span, level_of=self._effort.level))
        name = self._service.name
        metrics.IN.labels(name).inc()
        metrics.BYTES_IN.labels(name).inc(len(raw.data))
        if message.deliveries > 1:
            metrics.REDELIVERED.labels(name).inc()
        self._observe("queued", message.queued_s)
        if message.is_for(name):
            self._meter.record_delivery(message)
            return message
        self._answer(message, self._in_flight.acknowledge(message))
        return None

    async def _prepare(self, message: Message) -> None:
        message.preparing_since = started = time.monotonic()
        try:
            with progress.heard_by(message.goes_on):
                prepared = await self._service.prepare(message)
        except AnsweredBefore:
            metrics.DUPLICATES.labels(self._service.name).inc()
            await self._in_flight.acknowledge(message)
            return
        except Exception as e:
            await self._fail(message, e)
            return
        finally:
            message.preparing_since = None
        message.prepare_s = time.monotonic() - started
        self._effort.record_prepared(prepared)
        self._stream_health.record_success(message)
        self._observe("prepare", message.prepare_s)
        await self._batcher.put(Item(message, prepared), message.source.rank)

    # ---- batch, infer, publish, acknowledge

    async def _infer_loop(self, ranks: int) -> None:
        """Compute one batch after the other, of the n most urgent ranks."""
        while True:
            batch = await self._batcher.take(ranks)
            for item in batch:
                item.message.committed = True
            try:
                results = await self._device.infer(batch)
            except DeviceError as e:
                await self._exit(str(e))
            spent_s = batch[0].message.infer_s / self._settings.slots
            self._effort.record_batch([item.prepared for item in batch], spent_s)
            for item, result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    self._answer(item.message, self._fail(item.message, result))
                else:
                    self._answer(item.message, self._deliver(item, result))

    def _answer(self, message: Message, work: Coroutine[None, None, None]) -> None:
        """Run `work`, which answers for the message, concurrently with the loop."""
        message.committed = True
        task = asyncio.create_task(work)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _deliver(self, item: Item[P], result: R) -> None:
        message, name = item.message, self._service.name
        try:
            event, id = self._service.event(message, item.prepared, result), result_id(self._service, message)
            traceparent = telemetry.traceparent_of(message.span)
            headers = events.headers(event, id=id, source=names.source(name), traceparent=traceparent)
            started = time.perf_counter()
            # The job goes first: a degraded event must not exist without its backfill job.
            refused = await self._backfilling.defer(message, event, id)
            ack = await bus.publish(self._client, self._js, events.subject(event), events.encode(event), headers)
            self._observe("publish", time.perf_counter() - started)
            if refused:
                await self._backfilling.publish_lost(refused, "no_room", traceparent)
        except Exception as e:
            await self._fail(message, e)
            return
        if ack.duplicate:
            metrics.DUPLICATES.labels(name).inc()
        now = time.time()
        for at in self._service.frame_times(item.prepared):
            metrics.LATENCY.labels(name).observe(max(0.0, now - at))
        self._counts.processed += 1
        self._effort.record_stored(item.prepared)
        self._meter.record_result(event)
        metrics.OUT.labels(name).inc()
        await self._in_flight.acknowledge(message)

    async def _fail(self, message: Message, error: Exception) -> None:
        """Dead-letter what can't succeed or was tried often enough; nak the rest, with a growing delay."""
        name, cause = self._service.name, type(error).__name__
        self._counts.failed += 1
        metrics.FAILED.labels(name, cause).inc()
        message.span.record_exception(error)
        enough = message.last or (message.deliveries >= self._tuning.most_tries and not isinstance(error, Away))
        if isinstance(error, BadMessage) or enough:
            if not self._stream_health.record_failure(message, error):
                await self._in_flight.acknowledge(message)
            elif await self._in_flight.dead_letter(message, str(error) or cause):
                metrics.DEAD.labels(name, cause).inc()
            return
        delay_s = self._tuning.retry.after(message.deliveries)
        if await self._in_flight.nak(message, delay_s):
            self._log.warning(
                "failed, will be delivered again", origin=message.origin, delay_s=delay_s, error=repr(error)
            )

    def _observe(self, stage: str, seconds: float) -> None:
        metrics.STAGE.labels(self._service.name, stage).observe(seconds)

    # ---- beat

    async def _beat(self) -> None:
        """Report progress to JetStream, and publish the heartbeat. A stuck device stops both."""
        begun = [self._device.computing_since, *(message.preparing_since for message in self._in_flight)]
        begun += self._backfilling.begun
        begun += self._second_pass.begun if self._second_pass else []
        if time.monotonic() - min((b for b in begun if b), default=math.inf) > self._settings.stuck_s:
            await self._exit(f"the work in hand made no progress for {self._settings.stuck_s:.0f} s")
        count = len(self._in_flight) + sum(len(source.arrived) for source in self._sources)
        self._counts.backfilled, self._counts.backfilling_s = self._backfilling.done, self._backfilling.seconds
        await self._heartbeat.publish(self._service.model, count, self._in_flight.occupied_s, self._effort.costs)
        self._stream_health.publish_due()
        await self._in_flight.beat()
        await self._backfilling.beat()
        if self._second_pass:
            await self._second_pass.beat()

    async def _exit(self, reason: str) -> None:
        """End the process: a hanging thread can't be stopped, nor a broken device repaired, except by a restart."""
        self._log.error("handing back and exiting", reason=reason)
        await self._in_flight.hand_back_all()
        await self._backfilling.hand_back_all()
        os._exit(STUCK)

    # ---- drain

    async def _drain(self, prepare: list[asyncio.Task[None]], infer: list[asyncio.Task[None]]) -> None:
        """Stop pulling, hand back what is not on the device, finish what is, publish, acknowledge."""
        self._heartbeat.state = self._health.ready = "draining"
        started = time.monotonic()
        arrived = [(source, raw) for source in self._sources for raw in await source.puller.stop()]
        await end(*prepare)
        self._batcher.clear()
        idle = [message for message in self._in_flight if not message.committed]
        idle += [message for source, raw in arrived if (message := self._receive(source, raw))]
        for message in idle:
            if message.last:  # if handed back, it would never be delivered again
                self._answer(message, self._prepare(message))
            elif await self._in_flight.hand_back(message):
                metrics.HANDED_BACK.labels(self._service.name).inc()
        abandoned = await drain(
            self._client,
            self._in_flight,
            until=started + self._settings.grace_s,
            working=lambda: [*infer, *self._answering],
            flush_s=self._tuning.flush_s,
        )
        metrics.HANDED_BACK.labels(self._service.name).inc(abandoned)
        self._heartbeat.measure(0, self._in_flight.occupied_s)
        self._log.info(
            "drained",
            handed_back=sum(not message.last for message in idle),
            abandoned=abandoned,
            processed=self._counts.processed,
            seconds=round(time.monotonic() - started, 3),
        )
