"""Where the webhook stands, and moves of where it begins, as admin.

A move writes the new start first. Every process re-reads it within FRESH_S, and only then the consumer delivers again:
no process skips by a former start what the new one sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

from services.webhook import start as beginning
from services.webhook import status as reports
from services.webhook import stored
from services.webhook.start import Start
from services.webhook.status import Status
from shared import bus
from shared.bus import clock, direct
from shared.bus.client import Denied
from shared.bus.mirror import bind
from shared.contract import catalog, names, topology
from shared.contract.topology import TopologySettings
from shared.runtime.errors import BusError, SettingError
from tidegate.client import times
from tidegate.client.times import now_here

# A status that is older is of a process that has ended. It covers a slow write.
SILENT_S = 3 * reports.ALIVE_S
_CONSUMER = (names.EVENTS, names.WEBHOOK)
_SUBJECTS = catalog.find(names.WEBHOOK).consumers[0].filters


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """waiting: events not accepted yet; retrying: those of them that were posted, or are in flight. dead_letters:
    None if this user may not count them. has_begun: whether a start is recorded. after_seq, since: as in Start.
    is_running: whether a process has written lately. All else as in Status. Times in Unix seconds.
    """

    waiting: int
    retrying: int
    dead_letters: int | None
    has_begun: bool
    after_seq: int = 0
    since: float | None = None
    is_running: bool = False
    endpoint: str = ""
    endpoint_error: str = ""
    events: list[str] = []
    delivered_at: float | None = None
    failed_at: float | None = None
    error: str = ""
    retry_at: float | None = None


async def read(client: Client) -> Standing:
    """Return where the webhook stands. Raises BusError."""
    js = client.jetstream()
    consumer = await bus.consumer_info(js, names.EVENTS, names.WEBHOOK)
    start = await beginning.read(await bind(js, names.WEBHOOK))
    status, is_running = await _status(client)
    if not is_running:
        status = await _stored(client, status)
    retrying = consumer.num_ack_pending or 0
    return Standing(
        waiting=(consumer.num_pending or 0) + retrying,
        retrying=retrying,
        dead_letters=await _dead_letters(client),
        has_begun=start is not None,
        after_seq=start.seq if start else 0,
        since=start.time if start else None,
        is_running=is_running,
        **(msgspec.structs.asdict(status) if status else {}),
    )


async def _stored(client: Client, status: Status | None) -> Status | None:
    """Return the last status with the endpoint that the next process will follow, if one is stored."""
    try:
        if found := await stored.read(client):
            return replace(status or Status(), endpoint=found.where, events=sorted(found.events), endpoint_error="")
    except SettingError as e:
        return replace(status or Status(), endpoint_error=str(e))
    except BusError:
        pass
    return status


async def _dead_letters(client: Client) -> int | None:
    subject = names.dead_letters(names.WEBHOOK)
    try:
        found = (await client.jetstream().stream_info(names.DLQ, subjects_filter=subject)).state.subjects
    except Denied:
        return None
    return (found or {}).get(subject, 0)


async def _status(client: Client) -> tuple[Status | None, bool]:
    """Return the last status, and whether a process has written it lately."""
    # By its key: the webhook may read no others, and its pod runs this too.
    subject = f"$KV.{names.WEBHOOK}.{reports.KEY}"
    try:
        entry = await client.jetstream().get_last_msg(f"KV_{names.WEBHOOK}", subject, direct=True)
        status = msgspec.json.decode(entry.data or b"", type=Status)
    except (NotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None, False
    now = await clock.read(client, names.EVENTS, names.WEBHOOK)
    written = direct.server_time((entry.headers or {})["Nats-Time-Stamp"])
    return status, now - written.timestamp() < SILENT_S


async def count_since(client: Client, since: dt.datetime) -> int:
    """Return the number of alerts and incidents that EVENTS stored from `since` on."""
    js = client.jetstream()
    counter = ConsumerConfig(
        name=f"{names.WEBHOOK}-count",
        filter_subjects=list(_SUBJECTS),
        deliver_policy=DeliverPolicy.BY_START_TIME,
        opt_start_time=since,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=10.0,
        mem_storage=True,
    )
    info = await js.add_consumer(names.EVENTS, counter)
    await js.delete_consumer(names.EVENTS, str(info.name))
    return info.num_pending or 0


async def begin_now(client: Client) -> int:
    """Have it begin with the next event; return the number of waiting events, which it skips. Raises BusError."""
    js = client.jetstream()
    waiting = (await read(client)).waiting
    await _write(await bind(js, names.WEBHOOK), Start(seq=await _last(client)))
    return waiting


async def begin_at(client: Client, settings: TopologySettings, since: dt.datetime) -> int:
    """Have it send all events from `since` on, and return their present number.

    Raises SettingError if older events wait, which it would skip, and BusError.
    """
    js = client.jetstream()
    await _check_older(client, since)
    await _write(await bind(js, names.WEBHOOK), Start(seq=await _last(client), time=since.timestamp()))
    await asyncio.sleep(2 * beginning.FRESH_S)
    # Without its consumer, an event between the two requests would be lost.
    await asyncio.shield(topology.renew_consumer(js, settings, *_CONSUMER, since))
    return (await js.consumer_info(*_CONSUMER)).num_pending or 0


async def _check_older(client: Client, since: dt.datetime) -> None:
    """Raise SettingError if an event waits that was stored before `since`. Before a first start none does."""
    start = await beginning.read(await bind(client.jetstream(), names.WEBHOOK))
    floor = (await bus.consumer_info(client.jetstream(), *_CONSUMER)).ack_floor
    for subject in _SUBJECTS:
        with contextlib.suppress(NotFoundError):
            first = await direct.get(client, names.EVENTS, subject=subject, seq=(floor.stream_seq if floor else 0) + 1)
            if start and first.time < since and not start.skips(first.seq, first.time.timestamp()):
                raise SettingError(
                    f"events since {times.clock(first.time, now_here())} still wait: give that time or an earlier "
                    "one, or run 'tidegate webhook since now' first, which skips them"
                )


async def _last(client: Client) -> int:
    return (await client.jetstream().stream_info(names.EVENTS)).state.last_seq


async def _write(bucket: KeyValue, start: Start) -> None:
    await bucket.put(beginning.KEY, beginning.encode(start))
