"""The state of consumers in JetStream. Each is polled once a second, however many queries use it.

    consumers = Consumers(client)
    reader = consumers.get("MEDIA", "cv", service="cv")    # polls from now on
    reader.listeners.add(listener)                         # after every reply, and at the first message when idle
    reader.state().backlog                                 # raises Missing or Unavailable

Only two requests of JetStream's API are used: consumer info and stream info. A single reader polls a stream for all of
its consumers. Deferred segments are counted by their consumers alone, and the stream MEDIA gives their retention.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from nats.aio.client import Client

from services.scaler.demand.observation import DeferredSegments
from services.scaler.live import metrics
from services.scaler.live.expiry import ExpiryCounter, waiting
from services.scaler.live.listeners import Listeners, nothing
from services.scaler.live.wakeups import Wakeups, republished_subjects
from shared.bus import infos
from shared.bus.infos import ConsumerInfo, Missing, StreamInfo, Unavailable
from shared.contract import names
from shared.runtime.errors import TidegateError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# A consumer is polled this often, so that redeliveries can't hide expiry between two replies.
EVERY_S = 1.0
# An older reply is stale.
STALE_S = 3.0
# A stream without permission is polled less often: each try writes a line to the server's log.
REFUSED_S = 10.0

log = logger("scaler")


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """One reply. at: monotonic seconds of its request.

    pending: waiting messages. ack_pending: messages in flight at workers. arrived: cumulative messages of the consumer;
    it never decreases.
    """

    at: float
    pending: int
    ack_pending: int
    arrived: int

    @property
    def backlog(self) -> int:
        return self.pending + self.ack_pending


class ArrivedCounter:
    """Cumulative messages of a consumer: its place in the stream, and the messages pending behind that.

    Expiry lowers the pending count before the place moves on, so their sum can fall for a while; the total does not.
    The pending messages of a recreated consumer are added to the total. Its place is arbitrary: a stream that was lost
    begins late.
    """

    def __init__(self) -> None:
        self.total = 0
        self._base = 0
        self._created = ""

    def reach(self, created: str, place: int, pending: int) -> int:
        """Return the total for the consumer of that creation time, at `place`, with `pending` behind it."""
        if self._created and created != self._created:
            self._base = self.total - place
        self._created = created
        self.total = max(self.total, self._base + place + pending)
        return self.total


class _StreamReader:
    """Polls a stream for its first sequence, and its republish subjects. reply: None before the first one."""

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
    """Polls one consumer until it is closed. listeners: called after every reply or error, and on a wakeup."""

    def __init__(
        self,
        client: Client,
        stream: _StreamReader | None,
        wakeups: Wakeups,
        names: tuple[str, str, str],
        every_s: float,
    ) -> None:
        self.service, self.stream, self.consumer = names
        self.listeners = Listeners()
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
        """Return the last reply. Raises Missing or Unavailable if there is none, or it is too old."""
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
        """Messages that left the stream before their delivery, since this reader started."""
        return self._expiry.total

    @property
    def woken(self) -> bool:
        """Whether a message has arrived since the last reply, which had none."""
        return self._woken_at > (self._state.at if self._state else float("-inf"))

    def wake(self) -> None:
        """Record that a first message was stored."""
        self._woken_at = time.monotonic()
        self._notify()

    async def _run(self) -> None:
        # The stream gives its republish subjects, so it is read before its consumer.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every_s / 2):
                if self._stream_reader:
                    await self._stream_reader.first_answer.wait()
        # Spread readers that started together, so that they do not poll together for ever.
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
            # The stream's sequences include messages of other consumers.
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
        # The count needs no message bodies, and the scaler has no permission for them.
        if republish is None or not republish.headers_only:
            return
        if reply.num_pending or reply.num_ack_pending:
            await self._wakeups.disarm(self.wake)
        else:
            await self._wakeups.arm(republished_subjects(republish.src, republish.dest, reply.filters), self.wake)

    def _notify(self) -> None:
        self.listeners.notify(consumer=self.consumer, stream=self.stream)

    async def close(self) -> None:
        await end(self.task)
        await self._wakeups.disarm(self.wake)
        metrics.CONSUMER_REQUESTS.remove(self.stream, self.consumer)


class MergedReader:
    """The sum of several consumers, with the interface of a `ConsumerReader`.

    parts: the reader of each consumer.
    """

    def __init__(self, parts: Sequence[ConsumerReader]) -> None:
        self.service = parts[0].service
        self.stream = ",".join(dict.fromkeys(part.stream for part in parts))
        self.consumer = ",".join(part.consumer for part in parts)
        self.listeners = Listeners()
        self.first_answer = asyncio.Event()
        self.parts = list(parts)
        for part in parts:
            part.listeners.add(self._notify)

    def state(self) -> ConsumerState:
        """Return the sum of all, with the oldest time. Raises if any of them does."""
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
        self.listeners.notify(consumer=self.consumer, stream=self.stream)

    async def close(self) -> None:
        for part in self.parts:
            part.listeners.discard(self._notify)


class DeferredReader:
    """A service's deferred segments. media: gives the retention of video. problem: why they are unknown."""

    def __init__(self, jobs: ConsumerReader, media: _StreamReader) -> None:
        self.jobs = jobs
        self.problem = ""
        self._media = media

    @property
    def latest(self) -> DeferredSegments | None:
        """The counts; None if either reply is missing, or MEDIA has no maximum age."""
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
        return DeferredSegments(ever=state.arrived, waiting=state.backlog, retention_s=media.config.max_age / 1e9)

    def open(self) -> None:
        self.jobs.listeners.add(nothing)

    def close(self) -> None:
        self.jobs.listeners.discard(nothing)


Reader = ConsumerReader | MergedReader


class Consumers:
    """The readers of one connection. every_s: poll interval of one consumer, in seconds."""

    def __init__(self, client: Client, every_s: float = EVERY_S) -> None:
        self._client = client
        self._every_s = every_s
        self._wakeups = Wakeups(client)
        self._streams: dict[str, _StreamReader] = {}
        self._readers: dict[tuple[str, str], Reader] = {}

    def get(self, stream: str, consumer: str, service: str) -> Reader:
        """Return the reader of a consumer, or of several with commas; start it if need be. service: of the consumer.

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
        """Return the reader of a service's deferred segments, by its consumer of BACKFILL."""
        return DeferredReader(self._one(names.BACKFILL, consumer, service), self._stream(names.MEDIA))

    async def sweep(self) -> None:
        """End readers without listeners. Those of several consumers go first, as they listen to others."""
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
