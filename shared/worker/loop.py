"""The worker loop: pull, prepare, batch, infer, publish, acknowledge. cv, embed and vlm supply four functions.

    pull ──▶ prepare (threads) ──▶ batch ──▶ infer (device) ──▶ publish ──▶ acknowledge

Small bounded queues keep both the threads and the device busy. The credit of the pull bounds the messages in flight.
Each urgency has a consumer of its own, perhaps of another stream. Urgent messages overtake all that is not on the
device yet, and wait for nothing that is already prepared. With one urgency, the next full batch waits on the device's
thread, which then begins it without this loop.

A result's id is made of the message's own sequence. The message is acknowledged only after the PubAck of its result. If
the process dies in between, the message is delivered again and JetStream drops the second result.

What is optional attaches at one seam: see `extension`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Generic

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import bus
from shared.contract import events, names
from shared.runtime import telemetry
from shared.runtime.errors import Away, BadMessage
from shared.runtime.tasks import Background, end, supervise, unless
from shared.service.process import beat
from shared.worker import metrics
from shared.worker.batching import Batcher
from shared.worker.counts import WorkCounts
from shared.worker.device import Device, DeviceError, Item
from shared.worker.drain import drain
from shared.worker.extension import Extension, Extensions, Intake
from shared.worker.heartbeat import Heartbeat
from shared.worker.in_flight import InFlight, Source
from shared.worker.service import AnsweredBefore, Message, P, R, Service, preparing, result_id
from shared.worker.settings import WorkerSettings
from shared.worker.tuning import Tuning


class Loop(Generic[P, R]):
    """Runs a service over its consumers until it is stopped. One instance per process."""

    def __init__(
        self,
        client: Client,
        service: Service[P, R],
        settings: WorkerSettings,
        health: telemetry.Health,
        *,
        consumers: Sequence[tuple[str, str]],
        tuning: Tuning | None = None,
    ) -> None:
        """consumers: (stream, consumer) pairs, the most urgent first."""
        self.client = client
        self.service = service
        self.settings = settings
        self.consumers = consumers
        self.tuning = tuning or Tuning()
        self.counts = WorkCounts()
        self.in_flight: InFlight[Message] = InFlight(client, service.name, self.tuning)
        self.device = Device(service, self.counts, slots=settings.slots, failures=self.tuning.device_failures)
        self.intake = Intake()
        self.extensions: Extensions[P] = Extensions()
        self.heartbeat = Heartbeat(client, service, settings, self.counts, self.in_flight, self.device)
        self._health = health
        self._batcher: Batcher[Item[P]] = Batcher(settings.batch_size, settings.batch_wait_s, ranks=len(consumers))
        # Batches that wait for the device's thread, so that it is not idle while results pass through this loop. With
        # several urgencies there is none: the most urgent message may arrive next.
        self._ahead = int(not self.device.is_server and len(consumers) == 1)
        self._computing = 0
        self._taking = asyncio.Lock()
        self._answering = Background()
        self._js = client.jetstream()
        self._log = telemetry.logger("worker")

    def extend(self, intake: Intake, extensions: Sequence[Extension[P]]) -> None:
        """Attach these, before `run`. The loop calls the extensions in this order."""
        self.intake, self.extensions = intake, Extensions(extensions)
        self.heartbeat.extensions = self.extensions

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain; may run again after that.

        Raises BusError if a consumer is not there or the server closes.
        """
        await unless(stop, bus.answered(self.client, self._health, self._open))
        if stop.is_set():
            return
        self.heartbeat.state = "ready"
        self.device.open()
        async with AsyncExitStack() as pulling:
            for source in self.in_flight.sources:
                pull = source.pull(messages=self.settings.hold, max_bytes=self.settings.hold_bytes)
                await pulling.enter_async_context(pull)
            prepare, infer, beats = self._begin()
            try:
                await supervise(*prepare, *infer, beats, *await self.extensions.start(), stop=stop)
            finally:
                await self.extensions.stop()
                await self._drain(prepare, infer)
                await end(beats)
                await self.extensions.close()
                self.device.close()

    async def _open(self) -> None:
        """Read the configuration of the consumers."""
        self.in_flight.sources.clear()
        for stream, consumer in self.consumers:
            await self.in_flight.open(stream, consumer)
        self.intake.open(self.in_flight.sources)
        await self.extensions.open()

    def _begin(self) -> tuple[list[asyncio.Task[None]], list[asyncio.Task[None]], asyncio.Task[None]]:
        """Start the tasks that prepare, those that infer, and the one that beats until the drain is over."""
        self._health.ready = None
        self._log.info("ready", model=self.service.model, batch_size=self.settings.batch_size)
        sources, threads = self.in_flight.sources, range(self.settings.threads)
        # The slot reserved for the most urgent takes batches of the first rank only.
        slots = [len(sources)] * (self.settings.slots + self._ahead) + [1] * (len(sources) > 1)
        return (
            [asyncio.create_task(self._prepare_loop(source)) for source in sources for _ in threads],
            [asyncio.create_task(self._infer_loop(ranks)) for ranks in slots],
            asyncio.create_task(beat(self.client, self._health, self.heartbeat.beat, every_s=self.in_flight.beat_s)),
        )

    # ---- pull and prepare

    async def _prepare_loop(self, source: Source) -> None:
        while True:
            await source.puller.some()
            # One lane at a time: a quarantined message is processed under this lock, with nothing else in flight.
            async with self._taking:
                taken = await self.intake.next(source)
                message = self.receive(*taken) if taken else None
            if message:
                await self.prepare(message)

    def receive(self, source: Source, raw: Msg) -> Message | None:
        """Take a message. Return None for one of another service only, which is acknowledged."""
        name = self.service.name
        message = self.in_flight.take(Message.of(raw, source, name))
        metrics.record_received(name, message)
        if not message.is_for(name):
            self._answer(message, self.in_flight.acknowledge(message))
            return None
        self.extensions.received(message)
        return message

    async def prepare(self, message: Message) -> None:
        try:
            with preparing(message):
                prepared = await self.service.prepare(message)
        except AnsweredBefore:
            metrics.DUPLICATES.labels(self.service.name).inc()
            return await self.in_flight.acknowledge(message)
        except Exception as e:
            return await self._fail(message, e)
        metrics.STAGE.labels(self.service.name, "prepare").observe(message.prepare_s)
        self.extensions.prepared(message, prepared)
        await self._batcher.put(Item(message, prepared), message.source.rank)

    # ---- batch, infer, publish, acknowledge

    async def _infer_loop(self, ranks: int) -> None:
        """Compute one batch after the other, of the n most urgent ranks."""
        while True:
            batch = await self._batcher.take(ranks, only_full=self._only_full)
            for item in batch:
                item.message.committed = True
            self._computing += 1
            try:
                results = await self.device.infer(batch)
            except DeviceError as e:
                await self.heartbeat.exit(str(e))
            finally:
                self._computing -= 1
            spent_s = batch[0].message.infer_s / self.settings.slots
            self.extensions.computed([item.prepared for item in batch], spent_s)
            for item, result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    self._answer(item.message, self._fail(item.message, result))
                else:
                    self._answer(item.message, self._deliver(item, result))

    def _only_full(self) -> bool:
        """Whether the next batch would wait for the device's thread: until it is full, more can still join it."""
        return self._computing > 0 and self._ahead > 0

    def _answer(self, message: Message, work: Coroutine[None, None, None]) -> None:
        """Run `work`, which answers for the message, concurrently with the loop."""
        message.committed = True
        self._answering.start(work)

    async def _deliver(self, item: Item[P], result: R) -> None:
        """Publish the result, and acknowledge its message once the server has confirmed it."""
        message, name = item.message, self.service.name
        try:
            event, id = self.service.event(message, item.prepared, result), result_id(self.service, message)
            traceparent = telemetry.traceparent_of(message.span)
            headers = events.headers(event, id=id, source=names.source(name), traceparent=traceparent)
            started = time.perf_counter()
            async with self.extensions.publishing(message, event, id):
                ack = await bus.publish(self.client, self._js, events.subject(event), events.encode(event), headers)
                metrics.STAGE.labels(name, "publish").observe(time.perf_counter() - started)
        except Exception as e:
            return await self._fail(message, e)
        self.counts.processed += 1
        metrics.record_stored(name, self.service.frame_times(item.prepared), is_duplicate=bool(ack.duplicate))
        self.extensions.stored(item.prepared, event)
        await self.in_flight.acknowledge(message)

    async def _fail(self, message: Message, error: Exception) -> None:
        """Dead-letter what can't succeed or was tried often enough; nak the rest, with a growing delay."""
        name, cause = self.service.name, type(error).__name__
        self.counts.failed += 1
        metrics.FAILED.labels(name, cause).inc()
        message.span.record_exception(error)
        enough = message.last or (message.deliveries >= self.tuning.most_tries and not isinstance(error, Away))
        if isinstance(error, BadMessage) or enough:
            if not self.extensions.failed(message, error):
                await self.in_flight.acknowledge(message)
            elif await self.in_flight.dead_letter(message, str(error) or cause):
                metrics.DEAD.labels(name, cause).inc()
            return
        delay_s = self.tuning.retry.after(message.deliveries)
        if await self.in_flight.nak(message, delay_s):
            details = {"origin": message.origin, "delay_s": delay_s, "error": repr(error)}
            self._log.warning("failed, will be delivered again", **details)

    # ---- drain

    async def _drain(self, prepare: list[asyncio.Task[None]], infer: list[asyncio.Task[None]]) -> None:
        """Stop pulling, hand back what is not on the device, finish what is, publish, acknowledge."""
        self.heartbeat.state = self._health.ready = "draining"
        started = time.monotonic()
        arrived = [(source, raw) for source in self.in_flight.sources for raw in await source.puller.stop()]
        await end(*prepare)
        self._batcher.clear()
        idle = [message for message in self.in_flight if not message.committed]
        # What has only arrived is taken, too: each message has an answer.
        for source, raw in arrived:
            if message := self.receive(source, raw):
                idle.append(message)
        handed_back = 0
        for message in idle:
            if message.last:  # if handed back, it would never be delivered again
                self._answer(message, self.prepare(message))
            else:
                handed_back += await self.in_flight.hand_back(message)
        working, until = lambda: [*infer, *self._answering.tasks], started + self.settings.grace_s
        abandoned = await drain(self.client, self.in_flight, until=until, working=working, flush_s=self.tuning.flush_s)
        metrics.HANDED_BACK.labels(self.service.name).inc(handed_back + abandoned)
        self.heartbeat.measure()
        report = {"handed_back": handed_back, "abandoned": abandoned}
        seconds = round(time.monotonic() - started, 3)
        self._log.info("drained", **report, processed=self.counts.processed, seconds=seconds)
