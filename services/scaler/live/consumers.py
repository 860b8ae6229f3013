"""What JetStream says of consumers. Each is asked once a second, however many want to know.

    consumers = Consumers(client)
    reader = consumers.get("MEDIA", "cv", service="cv")    # asks from now on
    reader.listeners.add(told)                             # after every answer, and at the first message when idle
    reader.state().backlog                                 # raises Missing or Unavailable

Only two questions of JetStream's API are used: one about the consumer, and one about its stream, which a single reader
asks for all of the stream's consumers. What services put off is counted by their consumers alone, and MEDIA's stream
says for how long that can be made good.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from nats.aio.client import Client

from services.scaler.demand.observation import DeferredSegments
from services.scaler.live import metrics
from services.scaler.live.expiry import ExpiryCounter, waiting
from services.scaler.live.wakeups import Wakeups, republished_subjects
from shared.bus import infos
from shared.bus.infos import ConsumerInfo, Missing, StreamInfo, Unavailable
from shared.contract import names
from shared.runtime.errors import TidegateError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# A consumer is asked so often that redeliveries can't hide what expires between two answers.
EVERY_S = 1.0
# An older answer says nothing of now.
STALE_S = 3.0
# A stream that this user may not ask about is asked less often: each try writes a line to the server's log.
REFUSED_S = 10.0

log = logger("scaler")


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. at: monotonic seconds when it was asked for.

    pending: messages that wait. ack_pending: messages that workers hold. arrived: all messages that the consumer was
    ever to get; this number never falls.
    """

    at: float
    pending: int
    ack_pending: int
    arrived: int

    @property
    def backlog(self) -> int:
        return self.pending + self.ack_pending


class ArrivedCounter:
    """Messages that a consumer was ever to get: its place in the stream, and what is pending behind that.

    Expiry lowers the pending count before the place moves on, so their sum can fall for a while; the total does not.
    Of a consumer that was made anew, what is pending is added to the total. Its place may be any: a stream that was
    lost begins late.
    """

    def __init__(self) -> None:
        self.total = 0
        self._base = 0
        self._created = ""

    def reach(self, created: str, place: int, pending: int) -> int:
        """The total, where the consumer that was `created` then is at `place`, with `pending` behind that."""
        if self._created and created != self._created:
            self._base = self.total - place
        self._created = created
        self.total = max(self.total, self._base + place + pending)
        return self.total


class _StreamReader:
    """Asks a stream for its first sequence, and where it republishes. reply: None until it has answered."""

    def __init__(self, client: Client, stream: str, every_s: float) -> None:
        self._client = client
        self._stream = stream
        self._every_s = every_s
        self.reply: StreamInfo | None = None
        self.first_answer = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"stream {stream}")

    async def _run(self) -> None:
        while not self._client.is_closed:
            pause = self._every_s
            try:
                self.reply = await infos.stream(self._client, self._stream)
            except (Missing, Unavailable) as e:
                if self._client.is_connected:
                    pause = REFUSED_S
                log.debug("stream can't be read", error=str(e))
            self.first_answer.set()
            await asyncio.sleep(pause)


class ConsumerReader:
    """Asks one consumer until it is closed. listeners: are called after every answer or error, and when it wakes."""

    def __init__(
        self,
        client: Client,
        stream: _StreamReader | None,
        wakeups: Wakeups,
        names: tuple[str, str, str],
        every_s: float,
    ) -> None:
        self.service, self.stream, self.consumer = names
        self.listeners: set[Callable[[], None]] = set()
        self.first_answer = asyncio.Event()
        self.parts = [self]
        self._client = client
        self._stream_reader = stream
        self._wakeups = wakeups
        self._every_s = every_s
        self._what = f"consumer {self.consumer} of stream {self.stream}"
        self._arrived = ArrivedCounter()
        self._expiry = ExpiryCounter()
        self._state: ConsumerState | None = None
        self._error: TidegateError | None = None
        self._woken_at = float("-inf")
        self._requests = metrics.CONSUMER_REQUESTS.labels(self.stream, self.consumer)
        self.task = asyncio.create_task(self._run(), name=self._what)

    def state(self) -> ConsumerState:
        """The last answer. Raises Missing or Unavailable where there is none, or where it is too old."""
        if not self._client.is_connected:
            raise Unavailable(f"{self._what}: NATS is not connected")
        if self._error:
            raise self._error
        if self._state is None:
            raise Unavailable(f"{self._what}: not read yet")
        age_s = time.monotonic() - self._state.at
        if age_s > STALE_S:
            raise Unavailable(f"{self._what}: JetStream's last answer is {age_s:.0f} s old")
        return self._state

    @property
    def expired(self) -> int:
        """Messages that have left the stream before the consumer saw them, since this reader began."""
        return self._expiry.total

    @property
    def woken(self) -> bool:
        """Whether a message has come since the last answer, which said that there was none."""
        return self._woken_at > (self._state.at if self._state else float("-inf"))

    def wake(self) -> None:
        """A first message was stored."""
        self._woken_at = time.monotonic()
        self._notify()

    async def _run(self) -> None:
        # The stream says where it republishes, so it is read before its consumer.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every_s / 2):
                if self._stream_reader:
                    await self._stream_reader.first_answer.wait()
        # Readers that began together are spread, so that they do not ask together for ever.
        pause = random.uniform(1.0, 2.0) * self._every_s  # noqa: S311
        while not self._client.is_closed:
            started = time.monotonic()
            await self._read(started)
            self._notify()
            await asyncio.sleep(max(0.0, started + pause - time.monotonic()))
            pause = self._every_s

    async def _read(self, now: float) -> None:
        stream = self._stream_reader.reply if self._stream_reader else None
        try:
            if self._client.is_connected:
                self._requests.inc()
            reply = await infos.consumer(self._client, self.stream, self.consumer)
        except (Missing, Unavailable) as e:
            self._error = e
        else:
            self._error = None
            self._state = self._state_of(reply, stream, now)
            await self._arm(reply, stream)
        self.first_answer.set()

    def _state_of(self, reply: ConsumerInfo, stream: StreamInfo | None, now: float) -> ConsumerState:
        pending = reply.num_pending
        subjects = set(stream.config.subjects) if stream else set()
        if self._stream_reader is None or (stream and reply.filters and not subjects <= set(reply.filters)):
            # The stream's sequences count messages that are not this consumer's.
            reached = reply.delivered.consumer_seq
        else:
            first = stream.state.first_seq if stream else 0
            reached = max(reply.delivered.stream_seq, first - 1)
            if stream is not None:
                expired = self._expiry.count(
                    first_seq=first,
                    stream_seq=reply.delivered.stream_seq,
                    consumer_seq=reply.delivered.consumer_seq,
                    created=reply.created,
                )
                metrics.EXPIRED.labels(self.service, self.consumer).inc(expired)
                if stream.is_work_queue:
                    state = stream.state
                    pending = max(
                        pending,
                        waiting(state.messages, state.last_seq, reply.delivered.stream_seq, reply.num_ack_pending),
                    )
        return ConsumerState(
            at=now,
            pending=pending,
            ack_pending=reply.num_ack_pending,
            arrived=self._arrived.reach(reply.created, reached, reply.num_pending),
        )

    async def _arm(self, reply: ConsumerInfo, stream: StreamInfo | None) -> None:
        republish = stream.config.republish if stream else None
        # Whole messages are nothing that is needed to count them, and the scaler may not hear them.
        if republish is None or not republish.headers_only:
            return
        if reply.num_pending or reply.num_ack_pending:
            await self._wakeups.disarm(self.wake)
        else:
            await self._wakeups.arm(republished_subjects(republish.src, republish.dest, reply.filters), self.wake)

    def _notify(self) -> None:
        for listener in list(self.listeners):
            try:
                listener()
            except Exception:
                # A query that fails on an answer must not keep the answer from the others.
                log.exception("an answer can't be used", consumer=self.consumer, stream=self.stream)

    async def close(self) -> None:
        await end(self.task)
        await self._wakeups.disarm(self.wake)
        metrics.CONSUMER_REQUESTS.remove(self.stream, self.consumer)


class MergedReader:
    """Several consumers as one, with their numbers added up. It reads like a `ConsumerReader`.

    parts: the reader of each consumer.
    """

    def __init__(self, parts: Sequence[ConsumerReader]) -> None:
        self.service = parts[0].service
        self.stream = ",".join(dict.fromkeys(part.stream for part in parts))
        self.consumer = ",".join(part.consumer for part in parts)
        self.listeners: set[Callable[[], None]] = set()
        self.first_answer = asyncio.Event()
        self.parts = list(parts)
        for part in parts:
            part.listeners.add(self._notify)

    def state(self) -> ConsumerState:
        """The sum of all, as old as the oldest. Raises where any of them does."""
        states = [part.state() for part in self.parts]
        return ConsumerState(
            at=min(s.at for s in states),
            pending=sum(s.pending for s in states),
            ack_pending=sum(s.ack_pending for s in states),
            arrived=sum(s.arrived for s in states),
        )

    @property
    def expired(self) -> int:
        return sum(part.expired for part in self.parts)

    @property
    def woken(self) -> bool:
        return any(part.woken for part in self.parts)

    def _notify(self) -> None:
        if all(part.first_answer.is_set() for part in self.parts):
            self.first_answer.set()
        for listener in list(self.listeners):
            listener()

    async def close(self) -> None:
        for part in self.parts:
            part.listeners.discard(self._notify)


class DeferredReader:
    """What a service has put off. media: tells for how long its video is kept. problem: why that is not known."""

    def __init__(self, jobs: ConsumerReader, media: _StreamReader) -> None:
        self.jobs = jobs
        self.problem = ""
        self._media = media

    @property
    def latest(self) -> DeferredSegments | None:
        """None while either is not known, or MEDIA keeps all for ever."""
        media = self._media.reply
        try:
            state = self.jobs.state()
        except (Missing, Unavailable) as e:
            self.problem = str(e)
            return None
        if not (media and media.config.max_age):
            self.problem = f"stream {names.MEDIA} does not say for how long it keeps video"
            return None
        self.problem = ""
        return DeferredSegments(ever=state.arrived, waiting=state.backlog, kept_s=media.config.max_age / 1e9)

    def open(self) -> None:
        self.jobs.listeners.add(_nothing)

    def close(self) -> None:
        self.jobs.listeners.discard(_nothing)


def _nothing() -> None:
    """A listener that keeps a reader going, whose state alone is read."""


Reader = ConsumerReader | MergedReader


class Consumers:
    """The readers of one connection. every_s: seconds between two questions about one consumer."""

    def __init__(self, client: Client, every_s: float = EVERY_S) -> None:
        self._client = client
        self._every_s = every_s
        self._wakeups = Wakeups(client)
        self._streams: dict[str, _StreamReader] = {}
        self._readers: dict[tuple[str, str], Reader] = {}

    def get(self, stream: str, consumer: str, service: str) -> Reader:
        """The reader of a consumer, begun if need be, or of several with commas. service: whose work it is.

        stream: theirs, or with commas the stream of each.
        """
        reader = self._readers.get((stream, consumer))
        if reader is None:
            several = consumer.split(",")
            if len(several) > 1:
                streams = stream.split(",") if "," in stream else [stream] * len(several)
                parts = zip(streams, several, strict=True)
                reader = MergedReader([self._one(of, name, service) for of, name in parts])
                self._readers[stream, consumer] = reader
            else:
                reader = self._one(stream, consumer, service)
        return reader

    def _one(self, stream: str, consumer: str, service: str) -> ConsumerReader:
        reader = self._readers.get((stream, consumer))
        if reader is None:
            of_stream = None if stream == names.BACKFILL else self._stream(stream)
            what = (service, stream, consumer)
            reader = ConsumerReader(self._client, of_stream, self._wakeups, what, self._every_s)
            self._readers[stream, consumer] = reader
        assert isinstance(reader, ConsumerReader)
        return reader

    def _stream(self, stream: str) -> _StreamReader:
        if stream not in self._streams:
            self._streams[stream] = _StreamReader(self._client, stream, self._every_s)
        return self._streams[stream]

    def deferred(self, service: str, consumer: str) -> DeferredReader:
        """The reader of what a service has put off, by its consumer of BACKFILL."""
        return DeferredReader(self._one(names.BACKFILL, consumer, service), self._stream(names.MEDIA))

    async def sweep(self) -> None:
        """End the readers that nobody listens to. Those of several consumers go first, as they listen to others."""
        for key, reader in sorted(self._readers.items(), key=lambda item: isinstance(item[1], ConsumerReader)):
            if not reader.listeners:
                del self._readers[key]
                await reader.close()
        of_video = {names.MEDIA} if any(stream == names.BACKFILL for stream, _ in self._readers) else set()
        for stream in self._streams.keys() - {stream for stream, _ in self._readers} - of_video:
            await end(self._streams.pop(stream).task)

    async def close(self) -> None:
        for reader in self._readers.values():
            if isinstance(reader, MergedReader):
                await reader.close()
            reader.listeners.clear()
        await self.sweep()
