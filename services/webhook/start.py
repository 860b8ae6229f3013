"""Where the webhook begins: recorded once, in the bucket `webhook`, for all of its processes and restarts.

    beginning = Beginning(client)
    await beginning.record(since=None)
    await beginning.skips(delivery.seq, delivery.stored_at)

The consumer exists from `tidegate setup` on, so events may wait before any webhook starts. The first start records the
last event of that time, and events up to it are skipped. A consumer that has delivered before was in use by an older
version: its waiting events are sent.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from shared import bus
from shared.bus.mirror import bind
from shared.bus.waiting import unanswered
from shared.contract import names
from shared.runtime.errors import BusError, Unanswered
from shared.runtime.telemetry import logger

KEY = "start"
# A lagging replica of the bucket may miss the entry that another process has just written.
TRIES = 10
RETRY_S = 0.2
# The maximum age of what a process knows of the start.
FRESH_S = 1.0


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """seq: of EVENTS; every later event is sent. time: Unix seconds; an event up to `seq` is sent only if EVENTS stored
    it at this time or later. None: no such event is sent.

    A sequence, because a clock may be set back, and no event after the start may be lost.
    """

    seq: int
    time: float | None = None

    def skips(self, seq: int, stored_at: float) -> bool:
        """Whether an event comes before the start."""
        return seq <= self.seq and (self.time is None or stored_at < self.time)


def encode(start: Start) -> bytes:
    """Return the bucket's entry."""
    return msgspec.json.encode(start)


def decode(value: bytes | None) -> Start:
    """Return the start of an entry. Raises BusError."""
    try:
        return msgspec.json.decode(value or b"", type=Start)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise BusError(
            f"the entry {KEY} of bucket {names.WEBHOOK} can't be read: 'tidegate webhook since now' writes a new one"
        ) from e


class Beginning:
    """The recorded start, re-read for an event if it was read more than FRESH_S ago: it may have been moved."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._start = Start(seq=0)
        self._read_at = -FRESH_S

    async def record(self, since: dt.datetime | None) -> Start:
        """Return the recorded start; record one if there is none. Several processes may call it at the same time.

        since: events that EVENTS stored at this time or later are sent too; None: only those after this moment. Raises
        Unanswered if JetStream does not answer, and BusError.
        """
        bucket = await bind(self._client.jetstream(), names.WEBHOOK)
        try:
            for _ in range(TRIES):
                if found := await read(bucket) or await _record(self._client, bucket, since):
                    self._start, self._read_at = found, time.monotonic()
                    return found
                await asyncio.sleep(RETRY_S)
        except (TimeoutError, nats.errors.Error) as e:
            raise unanswered(f"bucket {names.WEBHOOK}", e) from e
        raise Unanswered(f"bucket {names.WEBHOOK} does not show the entry {KEY} that it has")

    async def skips(self, seq: int, stored_at: float) -> bool:
        """Whether an event comes before the start. Raises if only an unreadable entry could tell."""
        begun = time.monotonic()
        if begun - self._read_at >= FRESH_S:
            try:
                bucket = await bind(self._client.jetstream(), names.WEBHOOK)
                self._start, self._read_at = await read(bucket) or self._start, begun
            except (BusError, TimeoutError, nats.errors.Error):
                # An alert does not wait for the bucket.
                if self._start.skips(seq, stored_at):
                    raise
        return self._start.skips(seq, stored_at)


async def read(bucket: KeyValue) -> Start | None:
    """Return the recorded start; None if there is none."""
    try:
        return decode((await bucket.get(KEY)).value)
    except KeyNotFoundError:
        return None


async def _record(client: Client, bucket: KeyValue, since: dt.datetime | None) -> Start | None:
    """Record the start of a first start and return it; None if another process has just recorded one."""
    js = client.jetstream()
    consumer = await bus.consumer_info(js, names.EVENTS, names.WEBHOOK)
    # Only a webhook of an older version can have pulled before a start was recorded.
    is_older = bool((consumer.delivered and consumer.delivered.consumer_seq) or consumer.num_waiting)
    last = 0 if is_older else (await js.stream_info(names.EVENTS)).state.last_seq
    new = Start(seq=last, time=since.timestamp() if since and not is_older else None)
    try:
        await bucket.create(KEY, encode(new))
    except (KeyWrongLastSequenceError, KeyNotFoundError):
        return None
    if consumer.num_pending and not is_older:
        begins = "at WEBHOOK_SINCE" if since else "now; 'tidegate webhook since 1h' sends the last hour too"
        logger("webhook").info(f"a first start begins {begins}", waiting=consumer.num_pending)
    return new
