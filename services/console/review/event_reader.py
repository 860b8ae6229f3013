"""Reads EVENTS backwards at the start, newest first, then follows it by a subscription and by the log.

ALERTS is read in the same way, for events that a flood of another kind has pushed out of EVENTS.

The subscription may deliver twice, or not at all while the server is away: the log is complete.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Mapping
from typing import Any

import nats.errors

from services.console.feed.hub import FeedEvent
from services.console.review.gaps import Statuses
from services.console.review.index import Index
from shared.bus.client import Connection
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import Alert, CameraStatus, Event, Incident, Verdict, decode
from shared.contract.topology import EVENTS_MAX_AGE_S
from shared.runtime.errors import BadMessage, connection_closed
from shared.runtime.telemetry import logger

KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in (Incident, Alert, Verdict, CameraStatus)}
# The streams and subjects that are read, in this order.
_READ = [
    *((names.ALERTS, names.event(kind, "*")) for kind in names.COPIED),
    *((names.EVENTS, names.event(kind, "*")) for kind in KINDS),
]
# The last hour is read first, then longer times.
_BACK_S = (3600.0, 6 * 3600.0, 24 * 3600.0, 3 * 24 * 3600.0, EVENTS_MAX_AGE_S)
_EVERY_S = 10.0
_RETRY_S = 1.0


class EventReader:
    """Fills the index and the cameras' statuses. client: the viewer's connection."""

    def __init__(self, client: Connection, index: Index, statuses: Statuses) -> None:
        self._client = client
        self._index = index
        self._statuses = statuses
        # By stream and subject: the next sequence to follow, and the first sequence that was read.
        self._next: dict[tuple[str, str], int] = {}
        self._read_from: dict[tuple[str, str], int] = {}
        self._back = 0
        # The first sequence that MEDIA stores.
        self.video_from = 0
        self._log = logger("review")

    @property
    def is_complete(self) -> bool:
        """Whether everything in the streams was read, or the index is full."""
        return self._back >= len(_BACK_S)

    def hear(self, event: FeedEvent) -> None:
        """Record an event from the subscription."""
        if kind := KINDS.get(event.kind):
            self._take(bytes(event.data), kind, names.event(event.kind, event.camera))

    async def run(self) -> None:
        """Read and follow until cancelled. Raises BusError once the connection is closed."""
        while not self._client.is_closed:
            try:
                await self._read()
                await asyncio.sleep(_EVERY_S)
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug("events not read", error=repr(e))
                await asyncio.sleep(_RETRY_S)
        raise connection_closed()

    async def _read(self) -> None:
        if not self._next:
            js = self._client.jetstream()
            ends = {s: (await js.stream_info(s)).state.last_seq + 1 for s in (names.ALERTS, names.EVENTS)}
            self._next = {(stream, subject): ends[stream] for stream, subject in _READ}
            self._read_from = dict(self._next)
        async with Log(self._client, names.ALERTS) as alerts, Log(self._client, names.EVENTS) as log:
            logs = {names.ALERTS: alerts, names.EVENTS: log}
            while not self.is_complete:
                await self._follow(logs)
                await self._read_back(logs, _BACK_S[self._back])
                self._back = len(_BACK_S) if self._index.is_full else self._back + 1
            await self._follow(logs)
        video = (await self._client.jetstream().stream_info(names.MEDIA)).state
        self.video_from = video.first_seq if video.messages else video.last_seq + 1
        oldest = time.time() - EVENTS_MAX_AGE_S
        self._index.forget(oldest)
        self._statuses.forget(oldest)

    async def _read_back(self, logs: Mapping[str, Log], back_s: float) -> None:
        """Read what was stored in the last `back_s` seconds and has not been read yet."""
        since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=back_s)
        for (stream, subject), end in self._read_from.items():
            log = logs[stream]
            found = first = await log.since(subject, since)
            while found and found[-1].seq < end - 1:
                self._take_all(found, end)
                found = await log.read(subject, found[-1].seq + 1)
            self._take_all(found, end)
            self._read_from[stream, subject] = min(end, first[0].seq if first else end)

    async def _follow(self, logs: Mapping[str, Log]) -> None:
        for (stream, subject), seq in self._next.items():
            while found := await logs[stream].read(subject, seq):
                self._take_all(found, found[-1].seq + 1)
                self._next[stream, subject] = seq = found[-1].seq + 1

    def _take_all(self, found: list[Stored], end: int) -> None:
        for stored in found:
            if stored.seq < end:
                self._take(stored.data, KINDS[names.kind_of(stored.subject)], stored.subject)

    def _take(self, data: bytes, kind: type[Any], subject: str) -> None:
        try:
            event = decode(data, kind, subject)
        except BadMessage:  # not from a service
            return
        if isinstance(event, CameraStatus):
            self._statuses.record(event)
        else:
            self._index.record(event)
