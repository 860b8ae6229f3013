"""The messages in flight: taken from a consumer, and not yet acknowledged.

    in_flight = InFlight(client, "webhook")
    source = await in_flight.open("EVENTS", "webhook")     # BusError if the consumer is not there
    async with source.pull(messages=8, max_bytes=64 * MB) as puller:
        delivery = in_flight.take(Delivery(await puller.next(), source))
        ...                                                # meanwhile call `in_flight.beat()` every `in_flight.beat_s`
        await in_flight.acknowledge(delivery)              # or nak, hand_back or dead_letter

Each delivery is answered once, and then released: its credit goes back to the puller. An answer that can't be sent is
no error: the server delivers the message again after its consumer's ack wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import bus
from shared.bus.pull import Puller
from shared.contract import deadletters
from shared.runtime.errors import BusError
from shared.runtime.telemetry import logger
from shared.worker.stopwatch import Stopwatch
from shared.worker.tuning import Tuning


@dataclass(slots=True, eq=False)
class Source:
    """A durable consumer that messages are taken from, its configuration, and the messages that it has delivered.

    rank: its urgency, 0 the most urgent. ack_wait_s: seconds until a message without an answer or a beat is delivered
    again. max_deliver: maximum deliveries of a message; not positive: without limit.
    """

    client: Client
    stream: str
    consumer: str
    rank: int
    ack_wait_s: float
    max_deliver: int
    _replies: dict[str, None] = field(default_factory=dict)  # reply subjects of those in flight, the oldest first
    _pending: int = 0  # how many more there were at the last delivery that was taken
    _taken: float = field(default_factory=time.monotonic)  # its time, monotonic clock
    _beaten: float = field(default_factory=time.monotonic)  # the last beat of its messages, monotonic clock
    _puller: Puller | None = None

    @property
    def puller(self) -> Puller:
        """The puller of the `pull` block that runs."""
        assert self._puller is not None, f"{self.stream}/{self.consumer} is not pulled from"
        return self._puller

    @property
    def arrived(self) -> list[Msg]:
        """The messages that arrived and are not taken yet, the oldest first."""
        return self._puller.waiting if self._puller else []

    def has_more(self, quiet_s: float) -> bool:
        """Whether messages have arrived, or were pending at a delivery within the last `quiet_s`."""
        return bool(self.arrived or (self._pending and time.monotonic() - self._taken < quiet_s))

    @contextlib.asynccontextmanager
    async def pull(self, *, messages: int, max_bytes: int) -> AsyncIterator[Puller]:
        """Pull in the block. Messages that are not taken by its end are handed back."""
        async with Puller(self.client, self.stream, self.consumer, messages=messages, max_bytes=max_bytes) as puller:
            self._puller = puller
            try:
                yield puller
            finally:
                for raw in await puller.stop():
                    await _nak(raw)

    def add(self, raw: Msg) -> None:
        """Count a message as in flight."""
        self._replies[raw.reply] = None
        self._pending, self._taken = raw.metadata.num_pending, time.monotonic()

    def discard(self, raw: Msg) -> None:
        """Count a message as in flight no longer."""
        self._replies.pop(raw.reply, None)

    async def beat(self) -> None:
        """Report progress on its messages, unless that was within a third of the ack wait."""
        now = time.monotonic()
        if now - self._beaten >= self.ack_wait_s / 3:
            self._beaten = now
            await self._answer_all(Msg.Ack.Progress)

    async def hand_back(self) -> None:
        """Nak all of its messages."""
        await self._answer_all(Msg.Ack.Nak)

    async def _answer_all(self, ack: bytes) -> None:
        for reply in [*self._replies, *(raw.reply for raw in self.arrived)]:
            await self.client.publish(reply, ack)


async def _nak(raw: Msg) -> bool:
    """Have a message delivered again immediately; return whether the nak could be sent."""
    try:
        await raw.nak()
        return True
    except nats.errors.Error as e:
        logger("in_flight").debug("nak failed", error=repr(e))
        return False


@dataclass(slots=True, eq=False)
class Delivery:
    """A message in flight: one delivery of it."""

    raw: Msg
    source: Source
    _puller: Puller | None = field(init=False)
    _has_credit: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self._puller = self.source._puller

    @property
    def data(self) -> bytes:
        return self.raw.data

    @property
    def headers(self) -> Mapping[str, str]:
        return self.raw.headers or {}

    @property
    def subject(self) -> str:
        return self.raw.subject

    @property
    def stream(self) -> str:
        return self.raw.metadata.stream

    @property
    def seq(self) -> int:
        return self.raw.metadata.sequence.stream

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this delivery included."""
        return self.raw.metadata.num_delivered

    @property
    def stored_at(self) -> float:
        """When JetStream stored it: wall clock, seconds."""
        return self.raw.metadata.timestamp.timestamp()

    @property
    def last(self) -> bool:
        """Whether it is never delivered again, whatever the answer is."""
        return 0 < self.source.max_deliver <= self.deliveries

    def is_for(self, service: str) -> bool:
        """False for a replayed dead letter of another service, which reads the same stream."""
        return self.headers.get(deadletters.REPLAY_FOR, service) == service

    def return_credit(self) -> None:
        """Let the puller ask for the next message while this one is still in flight."""
        if self._has_credit:
            self._has_credit = False
            if self._puller:
                self._puller.release(self.raw)

    def on_release(self) -> None:
        """Called once it is no longer in flight."""


H = TypeVar("H", bound=Delivery)


class InFlight(Generic[H]):
    """See the module. service: the owner of its dead letters and its log."""

    def __init__(self, client: Client, service: str, tuning: Tuning | None = None) -> None:
        self._client = client
        self._service = service
        self._tuning = tuning or Tuning()
        self.sources: list[Source] = []  # as opened, the most urgent first
        self._deliveries: dict[str, H] = {}  # by reply subject, which is different for each delivery
        self._released = asyncio.Event()
        # Runs while anything is in flight. Suspend it while nothing can be processed.
        self.occupied = Stopwatch()
        self._log = logger(service)

    def __len__(self) -> int:
        return len(self._deliveries)

    def __iter__(self) -> Iterator[H]:
        """Iterate over the deliveries in flight, the oldest first. They may be answered meanwhile."""
        return iter(list(self._deliveries.values()))

    async def open(self, stream: str, consumer: str) -> Source:
        """Open a source as its consumer is configured, less urgent than those before. Raises as `consumer_info`."""
        config = (await bus.consumer_info(self._client.jetstream(), stream, consumer)).config
        assert config.ack_wait and config.max_deliver is not None  # the server always returns both
        source = Source(self._client, stream, consumer, len(self.sources), float(config.ack_wait), config.max_deliver)
        self.sources.append(source)
        return source

    def take(self, delivery: H) -> H:
        """Count `delivery` as in flight from now on."""
        self.occupied.start()
        self._deliveries[delivery.raw.reply] = delivery
        delivery.source.add(delivery.raw)
        return delivery

    async def acknowledge(self, delivery: H, *, confirmed: bool = True) -> None:
        """Acknowledge a delivery. If the server does not confirm, the message may come again.

        confirmed: ask for the server's confirmation, with retries.
        """
        for _ in range(self._tuning.ack_tries if confirmed else 1):
            try:
                if confirmed:
                    await delivery.raw.ack_sync(timeout=self._tuning.ack_timeout_s)
                else:
                    await delivery.raw.ack()
                break
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug(
                    "acknowledgement not confirmed", stream=delivery.stream, seq=delivery.seq, error=repr(e)
                )
        self.release(delivery)

    async def nak(self, delivery: H, delay_s: float) -> bool:
        """Have it delivered again after `delay_s`; return whether the nak could be sent."""
        is_sent = False
        with self._answering(delivery):
            await delivery.raw.nak(delay=delay_s)
            is_sent = True
        return is_sent

    async def hand_back(self, delivery: H) -> bool:
        """Let another process have it immediately; return whether the nak could be sent."""
        with self._answering(delivery):
            return await _nak(delivery.raw)

    async def dead_letter(self, delivery: H, reason: str) -> bool:
        """Move it into the stream DLQ, and end its deliveries; return whether it is there.

        After the ack wait, another delivery is better than more waiting.
        """
        dead_lettered = False
        with self._answering(delivery):
            await bus.dead_letter(
                self._client, self._service, delivery.raw, reason, patience_s=delivery.source.ack_wait_s
            )
            dead_lettered = True
            self._log.warning(
                "dead-lettered", subject=delivery.subject, stream=delivery.stream, seq=delivery.seq, reason=reason
            )
            await delivery.raw.term()
        return dead_lettered

    @contextlib.contextmanager
    def _answering(self, delivery: H) -> Iterator[None]:
        """Release it at the end of the block, whether or not the block could answer for it.

        Only a cancellation leaves it in flight: the drain that cancels hands it back.
        """
        try:
            yield
        except (BusError, TimeoutError, nats.errors.Error) as e:
            # It is delivered again after the ack wait, or JetStream's advisory of its last delivery is its dead letter.
            self._log.warning("could not answer for a message", stream=delivery.stream, seq=delivery.seq, error=repr(e))
        except Exception:
            self.release(delivery)
            raise
        self.release(delivery)

    def release(self, delivery: H) -> None:
        """Remove it from those in flight, answered or not. Idempotent."""
        if self._deliveries.pop(delivery.raw.reply, None) is None:
            return
        self.occupied.stop()
        delivery.source.discard(delivery.raw)
        delivery.on_release()
        delivery.return_credit()
        self._released.set()

    @property
    def beat_s(self) -> float:
        """The interval in which to call `beat`, in seconds."""
        return min((source.ack_wait_s for source in self.sources), default=1.0) / 6

    async def beat(self) -> None:
        """Report progress on these messages to JetStream, three times in their consumer's ack wait."""
        for source in self.sources:
            await source.beat()

    async def until_empty(self) -> None:
        """Wait until nothing is in flight."""
        while self._deliveries:
            self._released.clear()
            await self._released.wait()

    async def hand_back_all(self) -> None:
        """Nak all that is in flight or has arrived, and flush: the process is about to exit."""
        for source in self.sources:
            await source.hand_back()
        await self._client.flush()
