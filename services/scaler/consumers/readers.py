"""Readers of JetStream's state: one polls a consumer, and one polls a stream for all of its consumers.

Only two requests of JetStream's API are used: consumer info and stream info.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from nats.aio.client import Client

from services.scaler import metrics
from services.scaler.consumers.counts import ArrivedCounter, ConsumerState, ExpiryCounter, waiting
from services.scaler.consumers.listeners import Listeners
from services.scaler.consumers.slots import next_poll
from shared.bus import infos
from shared.bus.infos import ConsumerInfo, Missing, StreamInfo, Unavailable
from shared.bus.wakeups import Wakeups, republished_subjects
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


class StreamReader:
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
            started, pause = time.monotonic(), self._every_s
            if not await self.read() and self._client.is_connected:
                pause = REFUSED_S
            self.first_answer.set()
            await _until_slot(0, started, pause)

    async def read(self) -> bool:
        """Replace the reply by a new one. Return whether there was one."""
        try:
            self.reply = await infos.stream(self._client, self._stream)
        except (Missing, Unavailable) as e:
            log.debug("stream can't be read", error=str(e))
            return False
        return True


class ConsumerReader:
    """Polls one consumer until it is closed. listeners: called after every reply or error, and on a wakeup.

    slot: of its polls.
    """

    def __init__(
        self,
        client: Client,
        stream: StreamReader | None,
        wakeups: Wakeups,
        names: tuple[str, str, str],
        every_s: float,
        slot: int,
    ) -> None:
        self.slot = slot
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
        self._estimates = False
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
        while not self._client.is_closed:
            started = time.monotonic()
            await self._read(started)
            self._notify()
            await _until_slot(self.slot, started, self._every_s)

    async def _read(self, now: float) -> None:
        if self._stream_reader and self._estimates and self._state and self._state.pending:
            # Whatever expires between the two replies is missing in an estimate.
            await self._stream_reader.read()
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
        is_whole = self._is_whole(reply, stream)
        # A work queue deletes what was acknowledged: the gaps of a filter there are no losses.
        self._estimates = stream is not None and not is_whole and not stream.is_work_queue
        if stream is None or (stream.is_work_queue and not is_whole):
            self._expiry.pause()
        else:
            self._count_expired(reply, stream, pending if self._estimates else None)
        if is_whole:
            first = stream.state.first_seq if stream else 0
            reached = max(reply.delivered.stream_seq, first - 1)
        else:
            reached = reply.delivered.consumer_seq + self._expiry.total
        if stream and stream.is_work_queue and is_whole:
            state = stream.state
            queued = waiting(state.messages, state.last_seq, reply.delivered.stream_seq, reply.num_ack_pending)
            pending = max(pending, queued)
        return ConsumerState(
            at=now,
            pending=pending,
            in_flight=reply.num_ack_pending,
            arrived=self._arrived.reach(reply.created, reached, reply.num_pending, of_stream=is_whole),
        )

    def _is_whole(self, reply: ConsumerInfo, stream: StreamInfo | None) -> bool:
        """Whether the consumer gets every message of its stream. Otherwise the stream's sequences don't count its own.

        A filtered consumer counts by its deliveries until its stream replies.
        """
        if self._stream_reader is None:
            return False
        return not reply.filters or (stream is not None and stream.is_whole(reply))

    def _count_expired(self, reply: ConsumerInfo, stream: StreamInfo, pending: int | None) -> None:
        expired = self._expiry.count(
            first_seq=stream.state.first_seq,
            last_seq=stream.state.last_seq,
            stream_seq=reply.delivered.stream_seq,
            consumer_seq=reply.delivered.consumer_seq,
            created=reply.created,
            pending=pending,
        )
        metrics.EXPIRED.labels(self.service, self.consumer).inc(expired)

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


async def _until_slot(slot: int, started: float, every_s: float) -> None:
    """Wait for the next poll after one that started at this monotonic time."""
    # The clock may have been set since.
    ago_s = time.monotonic() - started
    now = time.time()
    await asyncio.sleep(max(0.0, next_poll(now - ago_s, slot, every_s) - now))
