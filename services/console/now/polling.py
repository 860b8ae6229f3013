"""Polls JetStream for each consumer's state and the age of its oldest waiting message."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from services.console.now.bus_monitor import BusMonitor, unix
from services.console.now.queues import QueueSeen, oldest
from services.console.now.services import OneService
from shared.bus import direct, infos
from shared.bus.infos import ConsumerInfo, Missing, StreamInfo
from shared.contract import catalog, names
from shared.runtime.errors import BusError

# Poll missing or silent streams and consumers less often: each refusal writes a line to the server's log.
MISSING_S = 10.0
RETRY_S = 4.0


class Polling:
    """See the module. is_answered: whether JetStream answered any request of the last poll."""

    def __init__(self, client: Client, bus: BusMonitor) -> None:
        self.is_answered = True
        self._client = client
        self._bus = bus
        self._not_before: dict[str, float] = {}
        self._times: dict[tuple[str, str], tuple[int, float]] = {}
        self._results: list[bool] = []

    async def poll(self) -> None:
        """Poll once: the streams before their consumers."""
        self._results = []
        if not self._client.is_connected:
            return
        infos = dict(zip(_STREAMS, await asyncio.gather(*map(self._stream, _STREAMS)), strict=True))
        # Only the consumers count deferred segments: this identity may not request the info of their stream.
        infos[names.BACKFILL] = StreamInfo()
        await asyncio.gather(
            *(
                self._queue(service, queue, info)
                for service in self._bus.services.values()
                for queue in service.queues
                if (info := infos.get(queue.stream))
            )
        )
        if self._results:
            self.is_answered = any(self._results)

    async def _stream(self, name: str) -> StreamInfo | None:
        if self._is_paused(name):
            return None
        try:
            found = await infos.stream(self._client, name)
        except BusError as e:
            self._pause(name, e)
            return None
        self._results.append(True)
        return found

    async def _queue(self, service: OneService, queue: QueueSeen, stream: StreamInfo) -> None:
        key = f"{queue.stream}.{queue.consumer}"
        if self._is_paused(key):
            return
        try:
            info = await infos.consumer(self._client, queue.stream, queue.consumer)
        except BusError as e:
            self._pause(key, e)
            queue.error = "" if isinstance(e, Missing) else str(e)
            queue.info = None if isinstance(e, Missing) else queue.info
            return
        self._results.append(True)
        age_s: float | None = 0.0
        now = time.monotonic()
        if queue.counts and (seq := oldest(info, stream, in_flight_waits=service.has_no_worker(now))) is not None:
            age_s = await self._age(queue, info, stream, seq)
        queue.take(info, stream, age_s, now)

    async def _age(self, queue: QueueSeen, info: ConsumerInfo, stream: StreamInfo, seq: int) -> float | None:
        """Return the age of the consumer's first message from `seq` on, in seconds; None if unknown."""
        wall = time.time()
        if stream.is_work_queue:
            return max(0.0, wall - unix(stream.state.first_ts)) if stream.state.messages else 0.0
        is_heard = queue.stream == names.MEDIA and stream.is_whole(info)
        stored = self._bus.video.time(seq) if is_heard else None
        if stored is None:
            stored = await self._stored(queue, info.filters, seq)
        return None if stored is None else max(0.0, wall - stored)

    async def _stored(self, queue: QueueSeen, filters: tuple[str, ...], seq: int) -> float | None:
        """Fetch the message, once, and return when it was stored, in Unix seconds."""
        key = (queue.stream, queue.consumer)
        if (cached := self._times.get(key)) and cached[0] == seq:
            return cached[1]
        found: list[tuple[int, float]] = []
        for subject in filters or (">",):
            try:
                one = await direct.get(self._client, queue.stream, subject=subject, seq=seq)
            except NotFoundError:
                continue
            except (BusError, APIError, TimeoutError, nats.errors.Error):
                return None
            found.append((one.seq, one.time.astimezone(dt.UTC).timestamp()))
        if not found:
            # It has left the stream meanwhile.
            return None
        self._times[key] = (seq, min(found)[1])
        return self._times[key][1]

    def _is_paused(self, what: str) -> bool:
        return time.monotonic() < self._not_before.get(what, 0.0)

    def _pause(self, what: str, error: BusError) -> None:
        missing = isinstance(error, Missing)
        self._results.append(missing)
        self._not_before[what] = time.monotonic() + (MISSING_S if missing else RETRY_S)


# The streams that services always take work from.
_STREAMS = catalog.streams_with_work()
