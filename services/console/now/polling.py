"""Asks JetStream once a second how each consumer is, and how long the oldest message has waited.

polling = Polling(client, hearing)
await polling.look()
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from services.console.now.hearing import Hearing, unix
from services.console.now.progress import oldest
from services.console.now.services import OneService, QueueSeen
from shared.bus import direct, infos
from shared.bus.infos import ConsumerInfo, Missing, StreamInfo
from shared.contract import catalog, names
from shared.runtime.errors import BusError

# What is missing, and what is not answered, is asked for less often: a refusal is a line in the server's log.
MISSING_S = 10.0
AGAIN_S = 4.0


class Polling:
    """See the module. is_answered: whether JetStream has answered anything the last time that it was asked."""

    def __init__(self, client: Client, hearing: Hearing) -> None:
        self.is_answered = True
        self._client = client
        self._hearing = hearing
        self._not_before: dict[str, float] = {}
        self._times: dict[tuple[str, str], tuple[int, float]] = {}
        self._results: list[bool] = []

    async def look(self) -> None:
        """One round of questions. The streams are asked before their consumers."""
        self._results = []
        if not self._client.is_connected:
            return
        infos = dict(zip(_STREAMS, await asyncio.gather(*map(self._stream, _STREAMS)), strict=True))
        # What was put off is counted by its consumers alone: the stream is none that this identity asks about.
        infos[names.BACKFILL] = StreamInfo()
        await asyncio.gather(
            *(
                self._queue(service, queue, info)
                for service in self._hearing.services.values()
                for queue in service.queues
                if (info := infos.get(queue.stream))
            )
        )
        if self._results:
            self.is_answered = any(self._results)

    async def _stream(self, name: str) -> StreamInfo | None:
        if self._is_left(name):
            return None
        try:
            found = await infos.stream(self._client, name)
        except BusError as e:
            self._leave(name, e)
            return None
        self._results.append(True)
        return found

    async def _queue(self, service: OneService, queue: QueueSeen, stream: StreamInfo) -> None:
        key = f"{queue.stream}.{queue.consumer}"
        if self._is_left(key):
            return
        try:
            info = await infos.consumer(self._client, queue.stream, queue.consumer)
        except BusError as e:
            self._leave(key, e)
            queue.error = "" if isinstance(e, Missing) else str(e)
            queue.info = None if isinstance(e, Missing) else queue.info
            return
        self._results.append(True)
        age_s = 0.0
        now = time.monotonic()
        if queue.counts and (seq := oldest(info, stream, nobody=service.nobody(now))) is not None:
            age = await self._age(queue, info, stream, seq)
            queue.take(info, stream, age, now)
            return
        queue.take(info, stream, age_s, now)

    async def _age(self, queue: QueueSeen, info: ConsumerInfo, stream: StreamInfo, seq: int) -> float | None:
        """Seconds since the first message from `seq` on that the consumer gets was stored; None where nobody says."""
        wall = time.time()
        if stream.is_work_queue:
            return max(0.0, wall - unix(stream.state.first_ts)) if stream.state.messages else 0.0
        heard = queue.stream == names.MEDIA and stream.is_whole(info)
        stored = self._hearing.video.time(seq) if heard else None
        if stored is None:
            stored = await self._stored(queue, info.filters, seq)
        return None if stored is None else max(0.0, wall - stored)

    async def _stored(self, queue: QueueSeen, filters: tuple[str, ...], seq: int) -> float | None:
        """The same by fetching it, which is done of a message once. Unix seconds."""
        key = (queue.stream, queue.consumer)
        if (known := self._times.get(key)) and known[0] == seq:
            return known[1]
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
            # It has gone since.
            return None
        self._times[key] = (seq, min(found)[1])
        return self._times[key][1]

    def _is_left(self, what: str) -> bool:
        return time.monotonic() < self._not_before.get(what, 0.0)

    def _leave(self, what: str, error: BusError) -> None:
        missing = isinstance(error, Missing)
        self._results.append(missing)
        self._not_before[what] = time.monotonic() + (MISSING_S if missing else AGAIN_S)


# Those that services take work from, all the time.
_STREAMS = catalog.streams_with_work()
