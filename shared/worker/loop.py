"""The worker loop: pull, prepare, batch, infer, publish, acknowledge. cv, embed and vlm give it three functions.

    pull ──▶ prepare (threads) ──▶ batch ──▶ infer (device) ──▶ publish ──▶ acknowledge

Both the threads and the device are kept busy by small bounded queues; the credit of the pull bounds everything that
is held. Where work is of several urgencies, each has a consumer of its own: what is urgent overtakes all that is not
on the device yet, and is held up by none of what is prepared already.

A result is published with an id made of the message's own sequence, its PubAck awaited, and only then is the message
acknowledged: whatever dies in between, the message comes again and JetStream drops the second result.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated, Generic, Protocol, TypeVar, cast

import msgspec
import nats.errors
from msgspec import Meta
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from opentelemetry import trace

from shared import bus
from shared.bus.pull import Puller
from shared.contract import deadletters, events, names, stats
from shared.contract.stats import WorkerStats
from shared.runtime import telemetry
from shared.runtime.errors import Away, BadMessage, BusError
from shared.runtime.tasks import end
from shared.worker import metrics
from shared.worker.batching import Batcher

MB = 1024 * 1024
ACK_TRIES = 3
# So many messages in a row, each failing on the device even alone, are not to blame: the device is.
DEVICE_FAILURES = 3
# From this delivery on a message may be what killed the workers that had it: it is worked on alone. Where the device is
# a server, its own restarts cost deliveries too, and nothing is suspected before half of them are used.
SUSPECT = 3
BETWEEN_SUSPECTS_S = 0.05
# So many deliveries of a message that fails by itself are enough, however many its consumer allows.
TRIES = 5
# Until a message comes again, at most.
LONGEST_DELAY_S = 60.0


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a loop is bounded. Services fill it from their own variables, such as CV_BATCH_SIZE."""

    batch_size: Annotated[int, Meta(ge=1)]
    batch_wait_s: Annotated[float, Meta(ge=0)] = 0.02
    # Batches on the device at once: more than one where it is a server that batches by itself. Where there are several
    # urgencies, one slot more is the most urgent's alone: long work of others may have all the rest.
    slots: Annotated[int, Meta(ge=1)] = 1
    threads: Annotated[int, Meta(ge=1)] = 1
    # Most messages in hand, and about how many bytes of them, of each consumer.
    hold: Annotated[int, Meta(ge=1)] = 8
    hold_bytes: int = 64 * MB
    # A batch or a preparation that takes longer means a hang: the process gives back what it has and exits.
    stuck_s: float = 120.0
    # How long a drain may take before what is left is abandoned to redelivery.
    grace_s: float = 25.0
    replica: str = "0"


@dataclass(slots=True, eq=False)
class Message:
    """A message in hand.

    origin: what the id of its result is made of. It is `<stream>/<seq>`, of the original where this is a replay; a
    service whose messages are known by more than that sets it in `prepare`. last: handed back, it would not come again.
    """

    raw: Msg
    puller: Puller
    stream: str
    seq: int
    deliveries: int
    stored_at: float  # wall clock, seconds
    taken_at: float
    origin: str
    last: bool
    span: trace.Span
    committed: bool = False  # on the device or being answered: a drain waits for it rather than hand it back
    preparing_since: float | None = None  # monotonic clock, seconds
    prepare_s: float = 0.0
    infer_s: float = 0.0

    @property
    def data(self) -> bytes:
        return self.raw.data

    @property
    def headers(self) -> dict[str, str]:
        return self.raw.headers or {}

    @property
    def queued_s(self) -> float:
        """Seconds from JetStream's receipt to this worker's hands."""
        return max(0.0, self.taken_at - self.stored_at)


class Prepared(Protocol):
    """What `prepare` makes of a message. weight: items it adds to a batch."""

    @property
    def weight(self) -> int: ...


P = TypeVar("P", bound=Prepared)
R = TypeVar("R")


class Service(Protocol[P, R]):
    """What a service gives the loop."""

    name: str
    model: str  # goes into the ids of results: another model's results are other results

    async def prepare(self, message: Message) -> P:
        """Decode and sample, the work itself in threads. Raises BadMessage for what can't ever succeed."""

    def infer(self, batch: Sequence[P]) -> Sequence[R] | Awaitable[Sequence[R]]:
        """Results in the order of `batch`. Runs in the device's own thread or, a coroutine, in the loop.

        Raises BadMessage for what can't ever succeed, Away where the device can't be reached.
        """

    def event(self, message: Message, prepared: P, result: R) -> events.Event:
        """What is published. Pure."""

    def frame_times(self, prepared: P) -> Sequence[float]:
        """Wall clock of the prepared frames, seconds: for the end-to-end latency."""


@dataclass(slots=True, eq=False)
class _Item(Generic[P]):
    message: Message
    prepared: P

    @property
    def weight(self) -> int:
        return self.prepared.weight


@dataclass(slots=True)
class _Counts:
    processed: int = 0
    failed: int = 0
    items: int = 0
    busy_s: float = 0.0
    working_s: float = 0.0
    started: float = field(default_factory=time.monotonic)


class Worker(Generic[P, R]):
    """Runs a service over its consumers until told to stop. One instance a process."""

    def __init__(
        self,
        client: Client,
        service: Service[P, R],
        settings: WorkerSettings,
        health: telemetry.Health,
        *,
        stream: str,
        consumers: Sequence[str],
    ) -> None:
        """consumers: of `stream`, the most urgent first."""
        self._client = client
        self._js: JetStreamContext = client.jetstream()
        self._service = service
        self._name = service.name
        self._settings = settings
        self._health = health
        self._stream = stream
        self._consumers = consumers
        self._log = telemetry.logger("worker")
        self._batcher: Batcher[_Item[P]] = Batcher(settings.batch_size, settings.batch_wait_s, ranks=len(consumers))
        self._pullers: list[Puller] = []
        self._held: dict[str, Message] = {}  # by reply subject: one delivery
        self._working_since = 0.0  # monotonic clock, seconds; counts while anything is held
        self._taking = asyncio.Lock()
        self._released = asyncio.Event()
        self._finishing: set[asyncio.Task[None]] = set()
        self._computing_since: float | None = None
        self._device_failures: set[str] = set()  # origins, since the device last did anything right
        self._counts = _Counts()
        self._draining = False
        self._ack_wait_s = 10.0
        self._max_deliver = 5
        self._suspect = SUSPECT
        self._is_server = inspect.iscoroutinefunction(service.infer)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain; it may be run again after that.

        Raises BusError if a consumer is not there or the server closes.
        """
        await self._read_consumers()
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._draining = False
        async with AsyncExitStack() as pulling:
            self._pullers = [await pulling.enter_async_context(self._puller(c)) for c in self._consumers]
            self._health.ready = None
            self._log.info("ready", model=self._service.model, batch_size=self._settings.batch_size)
            prepare = [
                asyncio.create_task(self._prepare_loop(puller))
                for puller in self._pullers
                for _ in range(self._settings.threads)
            ]
            ranks = [len(self._pullers)] * self._settings.slots + [1] * (len(self._pullers) > 1)
            infer = [asyncio.create_task(self._infer_loop(most)) for most in ranks]
            beat = asyncio.create_task(self._beat_loop())
            stopping = asyncio.create_task(stop.wait())
            try:
                done, _ = await asyncio.wait({*prepare, *infer, beat, stopping}, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    task.result()
            finally:
                await self._drain(prepare, infer)
                await end(beat, stopping)
                self._device.shutdown(wait=False)

    def _puller(self, consumer: str) -> Puller:
        return Puller(
            self._client, self._stream, consumer, messages=self._settings.hold, max_bytes=self._settings.hold_bytes
        )

    async def _read_consumers(self) -> None:
        """The consumers' own ack wait and most deliveries: what we beat and give up by."""
        configs = [await bus.consumer_config(self._js, self._stream, consumer) for consumer in self._consumers]
        self._ack_wait_s = min(float(c.ack_wait or self._ack_wait_s) for c in configs)
        self._max_deliver = min(int(c.max_deliver or self._max_deliver) for c in configs)
        self._suspect = max(SUSPECT, self._max_deliver // 2) if self._is_server else SUSPECT

    # ---- pull and prepare

    async def _prepare_loop(self, puller: Puller) -> None:
        while True:
            await puller.some()
            async with self._taking:
                if any(self._is_suspect(raw) for raw, _ in self._waiting()):
                    message = await self._take_with_care()
                else:
                    message = self._receive(puller.take(puller.waiting[0]), puller) if puller.waiting else None
            if message is not None:
                await self._prepare(message)

    async def _take_with_care(self) -> Message | None:
        """What is no suspect, the most urgent first; where there is none, a suspect is worked on here, alone.

        What has been delivered and not answered when a suspect kills this process has lost one of its deliveries. So
        nothing else is in hand then, waits, or is on its way here.
        """
        await asyncio.gather(*(p.pause() for p in self._pullers))
        suspects = self._waiting()
        for raw, puller in suspects:
            if not self._is_suspect(raw):
                return self._receive(puller.take(raw), puller)
        if not suspects:  # a drain took them
            return None
        raw, puller = _next_suspect(suspects)
        if message := self._receive(puller.take(raw), puller):
            await self._until(lambda: len(self._held) == 1)
            await self._prepare(message)
            await self._until(lambda: not self._held)
        await asyncio.gather(*(p.resume() for p in self._pullers))
        if len(suspects) > 1:
            # The next one is as suspect. What else there is, and may be urgent, comes between.
            await asyncio.sleep(BETWEEN_SUSPECTS_S)
        return None

    def _waiting(self) -> list[tuple[Msg, Puller]]:
        return [(raw, puller) for puller in self._pullers for raw in puller.waiting]

    def _is_suspect(self, raw: Msg) -> bool:
        return raw.metadata.num_delivered >= self._suspect

    async def _prepare(self, message: Message) -> None:
        message.preparing_since = started = time.monotonic()
        try:
            prepared = await self._service.prepare(message)
        except Exception as e:
            await self._fail(message, e)
            return
        finally:
            message.preparing_since = None
        message.prepare_s = time.monotonic() - started
        self._observe("prepare", message.prepare_s)
        await self._batcher.put(_Item(message, prepared), self._pullers.index(message.puller))

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._released.clear()
            await self._released.wait()

    def _receive(self, raw: Msg, puller: Puller) -> Message | None:
        meta = raw.metadata
        headers = raw.headers or {}
        origin = headers.get(deadletters.REPLAY_OF, f"{meta.stream}/{meta.sequence.stream}")
        now = time.time()
        message = Message(
            raw=raw,
            puller=puller,
            stream=meta.stream,
            seq=meta.sequence.stream,
            deliveries=meta.num_delivered,
            stored_at=meta.timestamp.timestamp(),
            taken_at=now,
            origin=origin,
            last=0 < self._max_deliver <= meta.num_delivered,
            span=telemetry.tracer().start_span(
                self._name,
                context=telemetry.context_of(headers.get("traceparent")),
                attributes={"messaging.system": "nats", "tidegate.stream": meta.stream, "tidegate.origin": origin},
            ),
        )
        if not self._held:
            self._working_since = time.monotonic()
        self._held[raw.reply] = message
        metrics.IN.labels(self._name).inc()
        metrics.BYTES_IN.labels(self._name).inc(len(raw.data))
        if meta.num_delivered > 1:
            metrics.REDELIVERED.labels(self._name).inc()
        self._observe("queued", message.queued_s)
        if headers.get(deadletters.REPLAY_FOR, self._name) != self._name:
            self._answer(message, self._acknowledge(message))
            return None
        return message

    # ---- batch and infer

    async def _infer_loop(self, ranks: int) -> None:
        while True:
            batch = await self._batcher.take(ranks)
            for item in batch:
                item.message.committed = True
            for item, result in zip(batch, await self._infer(batch), strict=True):
                if isinstance(result, Exception):
                    self._answer(item.message, self._fail(item.message, result))
                else:
                    self._answer(item.message, self._deliver(item, result))

    async def _infer(self, batch: list[_Item[P]]) -> Sequence[R | Exception]:
        """Results or, for the items that fail even alone, their errors: one bad item does not sink its batch."""
        try:
            results = await self._compute(batch)
            self._device_failures.clear()
            return results
        except Exception as e:
            if len(batch) == 1:
                if not (self._is_server or isinstance(e, BadMessage)):
                    self._device_failures.add(batch[0].message.origin)
                if len(self._device_failures) >= DEVICE_FAILURES:
                    await self._give_up(f"the device fails whatever it is given: {e!r}")
                return [e]
            self._log.warning("batch failed, trying one by one", size=len(batch), error=repr(e))
            return [(await self._infer([item]))[0] for item in batch]

    async def _compute(self, batch: list[_Item[P]]) -> Sequence[R]:
        started = time.monotonic()
        try:
            results = await self._on_device([i.prepared for i in batch])
        finally:
            spent = time.monotonic() - started
            items = sum(i.weight for i in batch)
            self._counts.busy_s += spent / self._settings.slots
            self._counts.items += items
            metrics.BUSY.labels(self._name).inc(spent / self._settings.slots)
            metrics.ITEMS.labels(self._name).inc(items)
            metrics.BATCH.labels(self._name).observe(items)
            self._observe("infer", spent)
            for item in batch:
                item.message.infer_s = spent
        if len(results) != len(batch):
            raise RuntimeError(f"{self._name}: infer gave {len(results)} results for {len(batch)} messages")
        return results

    async def _on_device(self, batch: list[P]) -> Sequence[R]:
        if self._is_server:
            # It has time limits of its own: a server that is slow is no thread that hangs.
            return await cast("Awaitable[Sequence[R]]", self._service.infer(batch))
        self._computing_since = time.monotonic()
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._device, self._service.infer, batch)
            return cast("Sequence[R]", results)
        finally:
            self._computing_since = None

    # ---- publish and acknowledge

    async def _deliver(self, item: _Item[P], result: R) -> None:
        message = item.message
        try:
            event = self._service.event(message, item.prepared, result)
            started = time.perf_counter()
            ack = await bus.publish(
                self._client,
                self._js,
                events.subject(event),
                events.encode(event),
                events.headers(
                    event,
                    id=f"{self._name}/{self._service.model}/{message.origin}",
                    source=names.source(self._name),
                    traceparent=telemetry.traceparent_of(message.span),
                ),
            )
            self._observe("publish", time.perf_counter() - started)
        except Exception as e:
            await self._fail(message, e)
            return
        if ack.duplicate:
            metrics.DUPLICATES.labels(self._name).inc()
        now = time.time()
        for at in self._service.frame_times(item.prepared):
            metrics.LATENCY.labels(self._name).observe(max(0.0, now - at))
        self._counts.processed += 1
        metrics.OUT.labels(self._name).inc()
        await self._acknowledge(message)

    async def _acknowledge(self, message: Message) -> None:
        """Ask for the server's word for it. Without it the message comes again, and its result is dropped as known."""
        for _ in range(ACK_TRIES):
            try:
                await message.raw.ack_sync(timeout=2.0)
                break
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug("acknowledgement not confirmed", origin=message.origin, error=repr(e))
        self._release(message)

    async def _fail(self, message: Message, error: BaseException) -> None:
        """Bury what can't succeed or was tried often enough; else let it come again, later each time."""
        cause = type(error).__name__
        self._counts.failed += 1
        metrics.FAILED.labels(self._name, cause).inc()
        message.span.record_exception(error)
        enough = message.last or (message.deliveries >= TRIES and not isinstance(error, Away))
        try:
            if isinstance(error, BadMessage) or enough:
                reason = str(error) or cause
                await bus.bury(self._client, self._name, message.raw, reason, patience_s=self._ack_wait_s)
                metrics.DEAD.labels(self._name, cause).inc()
                await message.raw.term()
                self._log.warning(
                    "dead-lettered", origin=message.origin, subject=message.raw.subject, reason=str(error)
                )
            else:
                delay = min(LONGEST_DELAY_S, 2.0 ** (message.deliveries - 1))
                await message.raw.nak(delay=delay)
                self._log.warning("failed, will come again", origin=message.origin, delay_s=delay, error=repr(error))
        except (BusError, TimeoutError, nats.errors.Error) as e:
            # Not answered: it comes again after ack_wait, or JetStream's advisory buries it.
            self._log.warning("could not answer for a message", origin=message.origin, error=repr(e))
        self._release(message)

    def _answer(self, message: Message, work: Coroutine[None, None, None]) -> None:
        message.committed = True
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    def _release(self, message: Message) -> None:
        if self._held.pop(message.raw.reply, None) is not None:
            self._count_working(time.monotonic())
            message.span.end()
            message.puller.release(message.raw)
            self._released.set()

    def _count_working(self, now: float) -> None:
        """Add what has passed since something came to hand, or since this was last called."""
        self._counts.working_s += now - self._working_since
        metrics.WORKING.labels(self._name).inc(now - self._working_since)
        self._working_since = now

    # ---- beat

    async def _beat_loop(self) -> None:
        """Tell JetStream that what we hold is worked on, and the world how we do. A stuck device stops both."""
        last_progress = time.monotonic()
        while not self._client.is_closed:
            if self._is_stuck():
                await self._give_up(f"nothing came of the work in hand for {self._settings.stuck_s:.0f} s")
            self._health.beat()
            await self._say()
            if time.monotonic() - last_progress >= self._ack_wait_s / 3:
                last_progress = time.monotonic()
                for reply in self._replies():
                    await self._client.publish(reply, Msg.Ack.Progress)
            await asyncio.sleep(min(stats.INTERVAL_S, self._ack_wait_s / 6))
        raise BusError("the connection to NATS was closed")

    def _replies(self) -> list[str]:
        """Reply subjects of all that is held or has arrived."""
        return [*self._held, *(raw.reply for raw, _ in self._waiting())]

    def _is_stuck(self) -> bool:
        begun = [self._computing_since, *(m.preparing_since for m in self._held.values())]
        return time.monotonic() - min((b for b in begun if b), default=math.inf) > self._settings.stuck_s

    async def _give_up(self, reason: str) -> None:
        """A thread that hangs can't be stopped and a broken device not mended, but their process can be restarted."""
        self._log.error("handing back and exiting", reason=reason)
        for reply in self._replies():
            await self._client.publish(reply, Msg.Ack.Nak)
        await self._client.flush()
        os._exit(70)

    async def _say(self) -> None:
        held = len(self._held) + len(self._waiting())
        metrics.HELD.labels(self._name).set(held)
        if self._held:
            self._count_working(time.monotonic())
        if not self._client.is_connected:
            return
        await self._client.publish(
            names.stats(self._name, self._settings.replica),
            stats.encode(
                WorkerStats(
                    service=self._name,
                    replica=self._settings.replica,
                    pid=os.getpid(),
                    state="draining" if self._draining else "ready",
                    model=self._service.model,
                    uptime_s=time.monotonic() - self._counts.started,
                    held=held,
                    processed=self._counts.processed,
                    failed=self._counts.failed,
                    items=self._counts.items,
                    busy_s=self._counts.busy_s,
                    working_s=self._counts.working_s,
                )
            ),
        )

    # ---- drain

    async def _drain(self, prepare: list[asyncio.Task[None]], infer: list[asyncio.Task[None]]) -> None:
        """Stop pulling, hand back what no device has yet, finish the batch on the device, publish, acknowledge."""
        self._draining = True
        self._health.ready = "draining"
        started = time.monotonic()
        buffered = [(raw, puller) for puller in self._pullers for raw in await puller.stop()]
        await end(*prepare)
        self._batcher.clear()
        idle = [m for m in self._held.values() if not m.committed]
        idle += [m for raw, puller in buffered if (m := self._receive(raw, puller))]
        returned = [m for m in idle if not m.last]
        for message in returned:
            await self._hand_back(message.raw)
            self._release(message)
        for message in idle:
            # Handed back it would never come again.
            if message.last:
                self._answer(message, self._prepare(message))
        deadline = started + self._settings.grace_s
        while self._held and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        await end(*infer, *self._finishing)
        abandoned = len(self._held)
        for message in list(self._held.values()):
            # What took longer than there was time for: others get it, and nothing of it is ours any more.
            await self._hand_back(message.raw)
            self._release(message)
        try:
            await self._client.flush(timeout=2)
        except Exception as e:  # the server is gone: what we said may be lost, and comes again
            self._log.warning("drain could not flush", error=repr(e))
        self._log.info(
            "drained",
            handed_back=len(returned),
            abandoned=abandoned,
            processed=self._counts.processed,
            seconds=round(time.monotonic() - started, 3),
        )

    async def _hand_back(self, raw: Msg) -> None:
        try:
            await raw.nak()
            metrics.HANDED_BACK.labels(self._name).inc()
        except nats.errors.Error as e:
            self._log.debug("nak failed", error=repr(e))

    def _observe(self, stage: str, seconds: float) -> None:
        metrics.STAGE.labels(self._name, stage).observe(seconds)


def _next_suspect(suspects: Sequence[tuple[Msg, Puller]]) -> tuple[Msg, Puller]:
    """The lowest sequence at odd deliveries, the highest at even ones.

    Messages that one worker held when it was killed come again together, the deadly one among them. By turns each of
    the others comes before it, is answered, and is out of its reach.
    """
    turn = max(raw.metadata.num_delivered for raw, _ in suspects)
    return (min if turn % 2 else max)(suspects, key=lambda suspect: suspect[0].metadata.sequence.stream)
