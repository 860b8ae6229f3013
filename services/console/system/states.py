"""Each stream's contents and each consumer's progress, with the rights of a viewer and an admin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from nats.aio.client import Client

from shared.bus import infos
from shared.bus.client import Denied
from shared.bus.infos import ConsumerInfo, StreamInfo
from shared.contract import catalog, names
from shared.contract.segment import rfc3339
from shared.runtime.errors import BusError

_NANO = 1e9
# Streams whose info needs an admin; a viewer may request all others that are shown.
OF_ADMIN = (names.AUDIT,)
STREAMS = (
    names.MEDIA,
    names.EVENTS,
    names.ALERTS,
    *(stream for stream, _ in names.VLM_WORK),
    names.BACKFILL,
    names.DLQ,
    names.USAGE,
)


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """pending: messages that were never delivered. in_flight: delivered and not acknowledged. ack_floor: the stream
    sequence up to which all are done. redelivered: of those in flight, delivered more than once. waiting_pulls: pull
    requests of idle workers. max_in_flight: the limit of in_flight. last_delivery: None: never.
    """

    name: str
    service: str
    pending: int
    in_flight: int
    max_in_flight: int
    ack_floor: int
    delivered: int
    redelivered: int
    waiting_pulls: int
    last_delivery: str | None


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """max_bytes, max_messages, max_age_s: its limits; None: no limit. share_full: of the nearest limit; None: no limit.
    refuses: whether a full stream refuses new messages, else it discards the oldest. other_consumers: of your own
    readers. error: why its state is unknown.
    """

    name: str
    subjects: list[str] = []
    messages: int = 0
    bytes: int = 0
    max_bytes: int | None = None
    max_messages: int | None = None
    max_age_s: float | None = None
    share_full: float | None = None
    refuses: bool = False
    oldest: str | None = None
    newest: str | None = None
    copies: int = 1
    consumers: list[ConsumerState] = []
    other_consumers: int = 0
    error: str | None = None
    is_missing: bool = False


async def states(viewer: Client, admin: Client) -> list[StreamState]:
    """Return all shown streams, in the order in which a segment passes them."""
    requests = [state(viewer, name) for name in STREAMS]
    requests += [state(admin, name) for name in OF_ADMIN]
    return list(await asyncio.gather(*requests))


async def state(client: Client, name: str) -> StreamState:
    """Return the state of one stream, or why it is unknown. Raises Denied if this connection raises denials."""
    try:
        info = await infos.stream(client, name)
        consumers = await asyncio.gather(*(_consumer(client, c) for c in consumers_of(name)))
    except Denied:
        raise
    except BusError as e:
        return StreamState(name=name, error=_reason(name, e), is_missing=isinstance(e, infos.Missing))
    return stream_state(name, info, [c for c in consumers if c])


def consumers_of(name: str) -> list[catalog.Consumer]:
    """Return the services' consumers of a stream."""
    return [c for service in catalog.services() for c in service.consumers if c.stream == name]


async def _consumer(client: Client, of: catalog.Consumer) -> ConsumerState | None:
    try:
        info = await infos.consumer(client, of.stream, of.name)
    except infos.Missing:
        return None
    return consumer_state(of.name, info)


def consumer_state(name: str, info: ConsumerInfo) -> ConsumerState:
    """Convert a consumer's info. Pure."""
    last = infos.instant(info.delivered.last_active)
    return ConsumerState(
        name=name,
        service=catalog.service_of(name),
        pending=info.num_pending,
        in_flight=info.num_ack_pending,
        max_in_flight=info.config.max_ack_pending,
        ack_floor=info.ack_floor.stream_seq,
        delivered=info.delivered.consumer_seq,
        redelivered=info.num_redelivered,
        waiting_pulls=info.num_waiting,
        last_delivery=rfc3339(last) if last else None,
    )


def stream_state(name: str, info: StreamInfo, consumers: Sequence[ConsumerState]) -> StreamState:
    """Convert a stream's info. Pure."""
    config, state = info.config, info.state
    oldest, newest = infos.instant(state.first_ts), infos.instant(state.last_ts)
    shares = [
        used / limit
        for used, limit in ((state.bytes, config.max_bytes), (state.messages, config.max_msgs))
        if limit > 0
    ]
    return StreamState(
        name=name,
        subjects=list(config.subjects),
        messages=state.messages,
        bytes=state.bytes,
        max_bytes=config.max_bytes if config.max_bytes > 0 else None,
        max_messages=config.max_msgs if config.max_msgs > 0 else None,
        max_age_s=config.max_age / _NANO if config.max_age > 0 else None,
        share_full=max(shares) if shares else None,
        refuses=config.discard == "new",
        oldest=rfc3339(oldest) if oldest and state.messages else None,
        newest=rfc3339(newest) if newest and state.messages else None,
        copies=config.num_replicas,
        consumers=list(consumers),
        other_consumers=max(0, state.consumer_count - len(consumers)),
    )


def _reason(name: str, error: BusError) -> str:
    if isinstance(error, infos.Missing):
        return f"{name} is missing: run 'tidegate setup'"
    return f"nothing is known of {name}: {error}"
