"""Messages of streams: into a backup by direct get, and back by publishing them.

A restored message has the header RESTORED, by which a second run finds where the first ended. A restored EVENTS begins
above all sequences of the backup, because ids of events contain sequences; its consumers begin after it, because what
it holds was analysed and sent before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy, StreamInfo, StreamState
from nats.js.errors import APIError, NotFoundError

from services.analytics.partitions.partition import Position as Checkpoint
from services.analytics.settings import AnalyticsSettings
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.contract.reading.missing import Unread
from shared.runtime.errors import BusError
from shared.runtime.settings import load
from tidegate.backup import scope
from tidegate.backup.records import Message, Position

# `<id of the backup>/<sequence there>`, and when the former server stored it.
RESTORED, STORED_AT = "Tidegate-Restored", "Tidegate-Stored"
# The consumer that is delivered restored events too: the index takes an event once.
SEARCH = "search"
# Messages in flight, and those at a stream's end that are searched for the last restored one.
_WINDOW, _SEARCHED = 128, 1000
# The server's own headers describe the former stream; one is the publisher's. Ids for deduplication are sealed by each
# user, and end within the hour.
_OWN, _PUBLISHERS = "Nats-", ("Nats-TTL",)
_SOURCE = "Nats-Stream-Source"
# The server's code for a message beyond the stream's limit; a sequence after all others.
_TOO_LARGE, MOST = 10054, 2**63


async def positions(js: JetStreamContext) -> list[Position]:
    """Return the positions of all streams that a backup may have or whose sequences are in ids. Raises BusError."""
    return [
        Position(stream=stream, seq=info.state.last_seq, created=str(info.created))
        for stream in dict.fromkeys((*scope.NUMBERED, *scope.SUBJECTS))
        for info in [await _info(js, stream)]
    ]


async def read(client: Client, stream: str) -> AsyncIterator[Message]:
    """Yield the messages of a stream up to its present end. Raises BusError, and Unread if its server can't read it."""
    js = client.jetstream()
    state, first_event = await _state(js, stream), (await _state(js, names.EVENTS)).first_seq
    count, seq = 0, state.first_seq
    async with Log(client, stream) as log:
        while seq <= state.last_seq and (part := await log.read(">", seq)):
            for stored in part:
                if stored.seq > state.last_seq:
                    break
                count += 1
                if (message := _message(stream, stored, first_event)) is not None:
                    yield message
            seq = part[-1].seq + 1
    if state.messages and not count and (await _state(js, stream)).messages:
        raise Unread(f"nothing of {stream} can be read: can its server open its files?")


def _message(stream: str, stored: Stored, first_event: int) -> Message | None:
    """Return the message for the backup, None if it is not restored. first_event: of EVENTS, which has later alerts."""
    seq = stored.seq
    if not _is_of(stream, stored.subject):
        return None
    if stream == names.ALERTS:
        seq = source_seq(stored.headers)
        if seq >= first_event:
            return None
    headers = published(stored.headers)
    return Message(stream=stream, seq=seq, subject=stored.subject, time=stored.time, data=stored.data, headers=headers)


def source_seq(headers: Mapping[str, str]) -> int:
    """Return the sequence in EVENTS of a message of ALERTS; 0 if its header does not have it."""
    _, _, rest = headers.get(_SOURCE, "").partition(" ")
    seq = rest.partition(" ")[0]
    return int(seq) if seq.isdecimal() else 0


def published(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a publisher has set."""
    return {k: v for k, v in headers.items() if not k.startswith(_OWN) or k in _PUBLISHERS}


def _is_of(stream: str, subject: str) -> bool:
    return any(names.overlap(pattern, subject) for pattern in scope.SUBJECTS[stream])


class Restorer:
    """Publishes messages of a backup. id: of the backup. before: its positions.

    count: messages published. event_seq: of the last restored message in EVENTS, 0 if there is none. same: streams that
    are those of the backup, and stay. left_out: messages that the server does not take.
    """

    def __init__(self, client: Client, id: str, before: Sequence[Position]) -> None:
        self._client = client
        self._id = id
        self._created = {position.stream: position.created for position in before}
        self._last: dict[str, int] = {}
        self._waiting: list[Message] = []
        self.count = 0
        self.event_seq = 0
        self.same: set[str] = set()
        self.left_out = 0

    async def add(self, message: Message) -> None:
        """Publish a message, unless an earlier run has. Raises BusError."""
        if message.stream not in scope.SUBJECTS or not _is_of(message.stream, message.subject):
            self.left_out += 1
            return
        into = names.EVENTS if message.stream == names.ALERTS else message.stream
        if into not in self._last:
            self._last[into] = await self._restored_until(into)
        if message.seq <= self._last[into]:
            return
        self._waiting.append(message)
        if len(self._waiting) >= _WINDOW:
            await self.flush()

    async def flush(self) -> None:
        """Publish what waits. Raises BusError."""
        waiting, self._waiting = self._waiting, []
        js = self._client.jetstream()
        try:
            await asyncio.gather(*(self._publish(js, message) for message in waiting))
        except (TimeoutError, nats.errors.Error) as e:
            raise BusError(f"{waiting[0].stream} takes no more ({e!r}): mend that, and run this again") from e

    async def _publish(self, js: JetStreamContext, message: Message) -> None:
        headers = published(message.headers) | {
            RESTORED: f"{self._id}/{message.seq}",
            STORED_AT: message.headers.get(STORED_AT) or message.time.isoformat(),
        }
        try:
            ack = await js.publish(message.subject, message.data, timeout=30, headers=headers)
            self.count += 1
            if ack.stream == names.EVENTS:
                self.event_seq = max(self.event_seq, ack.seq)
        except APIError as e:
            # Too large for this server's limits: one message is no reason to stop.
            if e.err_code != _TOO_LARGE:
                raise
            self.left_out += 1

    async def _restored_until(self, stream: str) -> int:
        """Return the last sequence of the backup that the stream has; 0 if none."""
        info = await _info(self._client.jetstream(), stream)
        if str(info.created) == self._created.get(stream):
            self.same.add(stream)
            return MOST
        end, last = info.state.last_seq, 0
        async with Log(self._client, stream) as log:
            seq = max(1, end - _SEARCHED)
            while seq <= end and (part := await log.read(">", seq)):
                for stored in part:
                    id, _, restored = stored.headers.get(RESTORED, "").rpartition("/")
                    if id == self._id and restored.isdecimal():
                        last = max(last, int(restored))
                        self.event_seq = stored.seq if stream == names.EVENTS else self.event_seq
                seq = part[-1].seq + 1
        return last


async def lift(js: JetStreamContext, before: Sequence[Position]) -> list[str]:
    """Let streams begin above the sequences of the backup; return a line for each that had messages. Raises BusError.

    Sequences are milliseconds since 1970, as of a stream that `tidegate setup` creates next to what names an earlier
    one. Messages of the present stream are removed, as their ids may be those of the backup's.
    """
    lines = []
    for position in before:
        if position.stream not in scope.NUMBERED:
            continue
        state = await _state(js, position.stream)
        if state.last_seq >= position.seq:
            continue
        above = max(time.time_ns() // 1_000_000, position.seq + 1)
        await js.purge_stream(position.stream, seq=above)
        if state.messages:
            lines.append(
                f"{position.stream}: {state.messages} messages removed, whose ids those of the backup would repeat"
            )
    return lines


async def skip_restored(client: Client, after: int) -> None:
    """Let consumers of EVENTS, and analytics, begin after a sequence. Raises BusError."""
    js = client.jetstream()
    for info in await js.consumers_info(names.EVENTS):
        if info.name == SEARCH or (info.delivered and info.delivered.stream_seq > after):
            continue
        config = info.config.evolve(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1, opt_start_time=None
        )
        await js.delete_consumer(names.EVENTS, info.name)
        await js.add_consumer(names.EVENTS, config)
    checkpoint = msgspec.json.encode(Checkpoint(seq=after + 1, verdicts=after + 1))
    bucket = await js.key_value(names.ANALYTICS)
    for number in range(load(AnalyticsSettings).analytics_partitions):
        await bucket.put(f"position.{number}", checkpoint)


async def _state(js: JetStreamContext, stream: str) -> StreamState:
    return (await _info(js, stream)).state


async def _info(js: JetStreamContext, stream: str) -> StreamInfo:
    try:
        return await js.stream_info(stream)
    except NotFoundError as e:
        raise BusError(f"stream {stream} is missing: run 'tidegate setup'") from e
