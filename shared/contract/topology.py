"""The only declaration of streams, consumers and buckets, and its application. Services just bind to them.

Applying twice changes nothing. A limit that the server can't grant is an error that names the stream and the setting.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
import nats.errors
from msgspec import Meta
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
    StreamSource,
    SubjectTransform,
)
from nats.js.errors import APIError, NotFoundError

from shared.contract import catalog, names, upgrade
from shared.contract.catalog import Consumer
from shared.contract.memory import GB, MB
from shared.contract.reading.missing import Unread
from shared.runtime.errors import BusError

MINUTE = 60.0

# Attempts to reach JetStream: starting servers take some seconds to elect a leader.
TRIES = 6

# Lease entries outlive an outage, so their holders continue after it. Expiry removes those of dead processes.
LEASES_MAX_AGE_S = 60 * MINUTE

# The maximum deduplication window of EVENTS and DLQ. Each id takes the server 200 to 500 bytes of memory, and 5 µs of a
# core at a start, when it reads all messages within the window.
MOST_DEDUP_S = 60 * MINUTE

# The largest job has a prompt of 4000 characters and a thousand segments; a usual one has some hundred bytes.
JOB_BYTES = 64 * 1024
# The age at which events expire.
EVENTS_MAX_AGE_S = 7 * 24 * 60 * MINUTE
# An incident takes some 6 kB, including its alert and updates: this holds as many as the console shows.
ALERTS_BYTES = 128 * MB
# Maximum of an alert's picture, some 100 kB, and of its message. Each has a subject of its own, which takes the
# server's memory: so their number is limited, too.
PICTURE_BYTES = 256 * 1024
PICTURE_MESSAGE_BYTES = PICTURE_BYTES + 16 * 1024
PICTURES_MOST = 50_000
# Maximum of a bucket of settings, and of one entry: who may write them can fill neither the disk nor what mirrors them.
ENTRIES_BYTES = 64 * MB
ENTRY_BYTES = {
    names.CAMERAS: 64 * 1024,
    names.CREDENTIALS: 16 * 1024,
    names.RULES: 512 * 1024,
    names.RECORDINGS: 256 * 1024,
}
# The buckets with passwords, or with what was seen of a camera: `tidegate erase` and others delete entries of these.
ERASABLE = (
    *(names.CREDENTIALS, names.ENDPOINT, names.SITE, names.CAMERAS, names.RULES, names.RECORDINGS),
    *(names.RECORDER, names.ANALYTICS, names.SCENES, names.REVIEWS),
)
# Maximum disk space of deferred jobs: 400 bytes for each segment, ten minutes of 500 cameras.
BACKFILL_BYTES = 128 * MB
BACKFILL_JOB_BYTES = 4096
# Maximum disk space of jobs of one urgency, so that no publisher can fill the disk.
JOBS_BYTES = 48 * MB
# Maximum disk space of analytics' checkpoints, a few kB a camera, so that no writer can fill the disk.
CHECKPOINTS_BYTES = 256 * MB
# Maximum disk space of recorders' ledgers, some 60 kB a camera.
LEDGERS_BYTES = 64 * MB
# The scalers' history of the last hour, some 10 kB a service.
HISTORY_MAX_AGE_S = 7200.0
HISTORY_BYTES = 16 * MB
# cv's data on static scenes: some 15 kB each, including a small picture, which expires soon.
SCENES_MAX_AGE_S = 60 * MINUTE
SCENE_BYTES = 256 * 1024
SCENES_BYTES = 64 * MB
# Usage is stored this long, or as long as there is room: docs/how-to/audit.md says how long that is.
USAGE_MAX_AGE_S = 100 * 24 * 60 * MINUTE
USAGE_BYTES = 128 * MB
USAGE_MESSAGE_BYTES = 256 * 1024
# Users' changes are stored this long, or as long as there is room: some 400 bytes each.
AUDIT_MAX_AGE_S = 400 * 24 * 60 * MINUTE
AUDIT_BYTES = 64 * MB
AUDIT_MESSAGE_BYTES = 16 * 1024
# The console's users, some 300 bytes each, and sessions. And their reviews, 100 bytes each.
CONSOLE_BYTES = 16 * MB
REVIEWS_BYTES = 32 * MB
# The progress of runs over recordings, some 700 bytes each. A run that is silent for this long is dropped.
RUNS_MAX_AGE_S = 30 * 24 * 60 * MINUTE
RUNS_BYTES = 16 * MB
RUN_BYTES = 256 * 1024
# The changes of an unfinished apply: some 600 bytes a camera, and its rules. An entry has those in base64.
SITE_BYTES = 32 * MB
SITE_ENTRY_BYTES = 768 * 1024
# The start and the state of the webhook, some 500 bytes.
WEBHOOK_BYTES = 1 * MB
WEBHOOK_ENTRY_BYTES = 4096
# The webhook's endpoint, one entry.
ENDPOINT_BYTES = 1 * MB
ENDPOINT_ENTRY_BYTES = 16 * 1024
# A lease names the process that holds it, and there is one per camera and process: 50 MB in all.
LEASE_BYTES = 1024
LEASES_MOST = 50_000
# Streams whose sequences are in ids, checkpoints and the webhook's start. If one is lost while these remain, its
# successor starts above all former sequences: from 1, a new segment's event would get a known id, and be dropped.
_NAMED = (names.MEDIA, names.EVENTS, names.ALERTS)
_NAMING = (*_NAMED, f"KV_{names.ANALYTICS}", f"KV_{names.WEBHOOK}")

# The server's integers end at 2**63, in nanoseconds for ages: these bounds are enough.
MOST = 10**18
MOST_AGE_S = 1e9
# The server's error codes: a limit beyond its disk or the account's quota; copies without a cluster; a quota of
# consumers, and of streams.
NO_DISK, NO_CLUSTER = 10047, 10074
TOO_MANY = {10026: "max-consumers", 10027: "max-streams"}
# Flags that the server never resets.
_FOR_EVER = ("deny_delete", "deny_purge", "sealed")
_START = ("deliver_policy", "opt_start_seq", "opt_start_time")


class TopologySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that `tidegate setup` gives the streams."""

    media_max_bytes: Annotated[int, Meta(gt=0, le=MOST, description="bytes of video kept in MEDIA")] = 10 * GB
    media_max_age_s: Annotated[float, Meta(gt=0, le=MOST_AGE_S, description="seconds of video kept in MEDIA")] = (
        10 * MINUTE
    )
    events_max_bytes: Annotated[int, Meta(gt=0, le=MOST, description="bytes of events kept in EVENTS")] = 10 * GB
    dlq_max_bytes: Annotated[int, Meta(gt=0, le=MOST, description="bytes of dead letters kept in DLQ")] = 2 * GB
    pictures_max_bytes: Annotated[
        int, Meta(gt=0, le=MOST, description="maximum bytes of alerts' pictures in PICTURES")
    ] = GB
    pictures_max_age_s: Annotated[
        float, Meta(gt=0, le=MOST_AGE_S, description="seconds that PICTURES stores an alert's picture")
    ] = EVENTS_MAX_AGE_S
    vlm_max_msgs: Annotated[int, Meta(gt=0, le=MOST, description="verifications that may wait in VLM")] = 100_000
    vlm_max_asks: Annotated[int, Meta(gt=0, le=MOST, description="questions that may wait in ASKS")] = 1000
    vlm_max_captions: Annotated[int, Meta(gt=0, le=MOST, description="captions that may wait in CAPTIONS")] = 100_000
    stream_replicas: Annotated[
        int,
        Meta(
            ge=0, le=5, description="copies of each stream: 3 in a cluster; 0: as many as it has, and new ones as MEDIA"
        ),
    ] = 0
    max_ack_pending: Annotated[
        int, Meta(gt=0, le=10**9, description="most messages in workers' hands: over max replicas x what one holds")
    ] = 4096
    embed_crops: Annotated[
        Literal["", "detections"], Meta(description="detections: embed works from events.detections.>, objects too")
    ] = ""


def streams(s: TopologySettings) -> list[StreamConfig]:
    """Return the configuration of every stream."""
    events = [_events(s), _alerts(s), _pictures(s)]
    return [_media(s), *events, *_vlm(s), _backfill(s), _dead_letters(s), _usage(s), _audit(s)]


def _media(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.MEDIA,
        [names.media(">"), names.main(">")],
        s,
        max_age=s.media_max_age_s,
        max_bytes=s.media_max_bytes,
        # As long as ingest may retry a segment whose first publish was stored without an acknowledgement.
        duplicate_window=s.media_max_age_s,
        # Of both subjects: a stream republishes one pattern.
        republish=_heads(">"),
    )


def _events(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.EVENTS,
        [f"{names.EVENT}.>", f"{names.PAST}.>"],
        s,
        compression=StoreCompression.S2,
        max_age=EVENTS_MAX_AGE_S,
        max_bytes=s.events_max_bytes,
        duplicate_window=_dedup_s(s),
        # Apps hear each stored event once, and no results from recordings.
        republish=RePublish(src="events.>", dest=names.stored("events.>")),
    )


def _alerts(s: TopologySettings) -> StreamConfig:
    """Return the stream that copies alerts and incidents, so that no other kind takes their room.

    The server copies from EVENTS within milliseconds, or within two minutes after it lost a peer. So it serves history;
    the webhook takes alerts from EVENTS. No identity can publish to it.
    """
    subjects = [names.event(kind, ">") for kind in names.COPIED]
    return _stream(
        names.ALERTS,
        None,
        s,
        sources=[StreamSource(name=names.EVENTS, subject_transforms=[SubjectTransform(x, x) for x in subjects])],
        compression=StoreCompression.S2,
        max_age=EVENTS_MAX_AGE_S,
        max_bytes=ALERTS_BYTES,
        duplicate_window=_dedup_s(s),
    )


def _pictures(s: TopologySettings) -> StreamConfig:
    """Return the stream of alerts' pictures: the last message of a subject is the picture, or why there is none."""
    return _stream(
        names.PICTURES,
        [names.ALL_PICTURES],
        s,
        max_age=s.pictures_max_age_s,
        max_bytes=s.pictures_max_bytes,
        max_msgs=PICTURES_MOST,
        max_msgs_per_subject=1,
        max_msg_size=PICTURE_MESSAGE_BYTES,
        duplicate_window=_dedup_s(s),
        # A camera's retention may be shorter.
        allow_msg_ttl=True,
    )


def _dedup_s(s: TopologySettings) -> float:
    """Return how long result ids are known: until MEDIA has dropped the segment, and its last delivery has ended."""
    return min(MOST_DEDUP_S, max(15 * MINUTE, s.media_max_age_s + 5 * MINUTE))


def _vlm(s: TopologySettings) -> list[StreamConfig]:
    """Return a stream for each urgency: in one stream, with one limit, one kind would take another's room."""
    return [
        _jobs(names.VLM, s, max_msgs=s.vlm_max_msgs),
        _jobs(names.ASKS, s, max_msgs=s.vlm_max_asks),
        _jobs(names.CAPTIONS, s, max_msgs=s.vlm_max_captions),
    ]


def _jobs(name: str, s: TopologySettings, *, max_msgs: int) -> StreamConfig:
    return _stream(
        name,
        # A kind without a consumer is refused, rather than stored for no one.
        [subject for c in _wanted(s) if c.stream == name for subject in c.filters],
        s,
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_age=60 * MINUTE,
        max_msgs=max_msgs,
        max_msg_size=JOB_BYTES,
        max_bytes=JOBS_BYTES,
        # A job may carry its client's timeout: then the server expires it.
        allow_msg_ttl=True,
        # A job published again within the deduplication window of its verdict is the same job.
        duplicate_window=15 * MINUTE,
        republish=_heads("jobs.vlm.>"),
    )


def _backfill(s: TopologySettings) -> StreamConfig:
    """Return the stream of deferred jobs, which outlive their video: the worker that finds a segment expired announces
    that no revision will come.

    So every job has its outcome before its event expires in EVENTS. If the stream is full, the publisher announces the
    job as lost. Jobs are not republished: none is urgent.
    """
    return _stream(
        names.BACKFILL,
        [subject for c in _wanted(s) if c.stream == names.BACKFILL for subject in c.filters],
        s,
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_age=EVENTS_MAX_AGE_S,
        max_msg_size=BACKFILL_JOB_BYTES,
        max_bytes=BACKFILL_BYTES,
        # A redelivered segment is deferred once, as its event is stored once.
        duplicate_window=_dedup_s(s),
    )


def _dead_letters(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.DLQ,
        # Only the advisory reports a message whose last worker died with it.
        [names.dead_letters(">"), f"{names.MAX_DELIVERIES}.>"],
        s,
        max_age=30 * 24 * 60 * MINUTE,
        max_bytes=s.dlq_max_bytes,
        # A dead letter whose message could not be acknowledged comes again after an outage.
        duplicate_window=MOST_DEDUP_S,
    )


def _usage(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.USAGE,
        [names.usage("*")],
        s,
        compression=StoreCompression.S2,
        max_age=USAGE_MAX_AGE_S,
        max_bytes=USAGE_BYTES,
        max_msg_size=USAGE_MESSAGE_BYTES,
    )


def _audit(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.AUDIT,
        [names.audit(">")],
        s,
        compression=StoreCompression.S2,
        max_age=AUDIT_MAX_AGE_S,
        max_bytes=AUDIT_BYTES,
        max_msg_size=AUDIT_MESSAGE_BYTES,
        # A user who could change the log could change the record of their own actions.
        deny_delete=True,
        deny_purge=True,
    )


def _stream(name: str, subjects: list[str] | None, s: TopologySettings, **more: Any) -> StreamConfig:
    """Return a stream on disk, readable by direct get; the oldest message goes first, unless `more` says otherwise."""
    common: dict[str, Any] = {
        "retention": RetentionPolicy.LIMITS,
        "discard": DiscardPolicy.OLD,
        "storage": StorageType.FILE,
        "allow_direct": True,
        "num_replicas": s.stream_replicas or None,
    }
    return StreamConfig(name=name, subjects=subjects, **common | more)


def _heads(subject: str) -> RePublish:
    """Republish the headers of stored messages: the scaler hears of a first message and sees no video."""
    return RePublish(src=subject, dest=names.stored(subject), headers_only=True)


def consumers(s: TopologySettings) -> list[tuple[str, ConsumerConfig]]:
    """Return (stream, durable pull consumer) of every service. No inactive_threshold: scale to zero must not delete
    them.
    """
    return [(c.stream, _durable(c, s)) for c in _wanted(s)]


def _wanted(s: TopologySettings) -> list[Consumer]:
    """Return the catalog's consumers, filtered by the settings."""
    return [c for service in catalog.services() for c in service.consumers if not c.when or getattr(s, c.when)]


def _durable(c: Consumer, s: TopologySettings) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=c.name,
        filter_subject=c.filters[0] if len(c.filters) == 1 else None,
        filter_subjects=list(c.filters) if len(c.filters) > 1 else None,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=catalog.ACK_WAIT_S,
        max_deliver=c.max_deliver,
        max_ack_pending=s.max_ack_pending,
        deliver_policy=DeliverPolicy.NEW if c.from_now else DeliverPolicy.ALL,
        headers_only=c.headers_only or None,
    )


def buckets(s: TopologySettings) -> dict[str, StreamConfig]:
    """Return the stream of every KV bucket, by the bucket's name."""
    found = {b: _bucket(b, s, max_bytes=ENTRIES_BYTES, max_msg_size=size) for b, size in ENTRY_BYTES.items()}
    found[names.ANALYTICS] = _bucket(names.ANALYTICS, s, max_bytes=CHECKPOINTS_BYTES)
    found[names.RECORDER] = _bucket(names.RECORDER, s, max_bytes=LEDGERS_BYTES)
    found[names.SCALER] = _bucket(names.SCALER, s, max_age=HISTORY_MAX_AGE_S, max_bytes=HISTORY_BYTES)
    found[names.SCENES] = _bucket(
        names.SCENES, s, max_age=SCENES_MAX_AGE_S, max_bytes=SCENES_BYTES, max_msg_size=SCENE_BYTES
    )
    found[names.CONSOLE] = _bucket(names.CONSOLE, s, max_bytes=CONSOLE_BYTES)
    # An expired incident needs no review.
    found[names.REVIEWS] = _bucket(names.REVIEWS, s, max_age=EVENTS_MAX_AGE_S, max_bytes=REVIEWS_BYTES)
    found[names.RUNS] = _bucket(names.RUNS, s, max_age=RUNS_MAX_AGE_S, max_bytes=RUNS_BYTES, max_msg_size=RUN_BYTES)
    found[names.SITE] = _bucket(names.SITE, s, max_bytes=SITE_BYTES, max_msg_size=SITE_ENTRY_BYTES)
    found[names.WEBHOOK] = _bucket(names.WEBHOOK, s, max_bytes=WEBHOOK_BYTES, max_msg_size=WEBHOOK_ENTRY_BYTES)
    found[names.ENDPOINT] = _bucket(names.ENDPOINT, s, max_bytes=ENDPOINT_BYTES, max_msg_size=ENDPOINT_ENTRY_BYTES)
    for b in (names.LEASES, names.PARTITIONS, names.RECORDERS, names.MACHINES):
        found[b] = _bucket(b, s, max_age=LEASES_MAX_AGE_S, max_msgs=LEASES_MOST, max_msg_size=LEASE_BYTES)
    return found


def _bucket(name: str, s: TopologySettings, *, max_age: float = 0, **limits: int) -> StreamConfig:
    """Return a bucket for KV clients: but no writer's header can empty it, and it republishes its changes."""
    return _stream(
        f"KV_{name}",
        [f"$KV.{name}.>"],
        s,
        max_msgs_per_subject=1,
        max_age=max_age,
        discard=DiscardPolicy.NEW,
        duplicate_window=2 * MINUTE,
        # Deleting a message overwrites it on disk, where a purge and a new value leave it.
        deny_delete=name not in ERASABLE,
        # The settings of a removed camera expire, and so do sessions, links and dropped states.
        allow_msg_ttl=True if name in (names.CAMERAS, names.CONSOLE, names.ANALYTICS) else None,
        allow_rollup_hdrs=False,
        # Nobody mirrors an unfinished change.
        republish=RePublish(src=f"$KV.{name}.>", dest=names.change(name, ">")) if name != names.SITE else None,
        **limits,
    )


async def apply(js: JetStreamContext, s: TopologySettings) -> list[str]:
    """Create and update streams and consumers; return a line for each change. Raises BusError."""
    done = await _attempt(f"stream {names.MEDIA}", _answered(js))
    lost = await _lost(js)
    for stream in streams(s):
        done += await _attempt(f"stream {stream.name}", _apply_stream(js, stream, late=stream.name in lost))
        done += await _attempt(f"stream {stream.name}", upgrade.take_over(js, stream))
    done += await apply_consumers(js, s, _wanted(s))
    for bucket, stream in buckets(s).items():
        done += await _attempt(f"bucket {bucket}", _apply_stream(js, stream))
    done += await _attempt(f"bucket {names.CREDENTIALS}", upgrade.make_erasable(js))
    return done


async def apply_consumers(js: JetStreamContext, s: TopologySettings, wanted: Iterable[Consumer]) -> list[str]:
    """Create missing consumers, update those that differ; return a line for each. Raises BusError."""
    done: list[str] = []
    for c in wanted:
        done += await _attempt(f"consumer {c.name}", _apply_consumer(js, c.stream, _durable(c, s)))
    return done


async def renew_consumer(
    js: JetStreamContext, s: TopologySettings, stream: str, name: str, since: dt.datetime | None = None
) -> None:
    """Delete and recreate a durable consumer, so that it delivers again: all that its policy says, or all from `since`
    on. Raises BusError.
    """
    (config,) = [c for of, c in consumers(s) if (of, c.durable_name) == (stream, name)]
    if since:
        config = config.evolve(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since)

    async def again() -> str:
        with contextlib.suppress(NotFoundError):
            await js.delete_consumer(stream, name)
        await js.add_consumer(stream, config)
        return "made anew"

    await _attempt(f"consumer {name}", again())


async def _attempt(what: str, change: object) -> list[str]:
    try:
        verb = await change  # type: ignore[misc]
    except APIError as e:
        raise BusError(f"{what} can't be set up: {e.description} (error {e.err_code}){_remedy(what, e)}") from e
    except Unread as e:
        raise BusError(f"{what} can't be set up: {e}") from e
    except (TimeoutError, nats.errors.Error) as e:
        raise BusError(f"{what} can't be set up: JetStream does not answer, or this user may not ask ({e!r})") from e
    return [f"{what} {verb}"] if verb else []


def _remedy(what: str, error: APIError) -> str:
    """Return the setting that asks for more than the server has, if it is one."""
    stream = what.removeprefix("stream ")
    if error.err_code == NO_DISK and stream in (names.MEDIA, names.EVENTS, names.DLQ, names.PICTURES):
        return f": lower {stream}_MAX_BYTES, or give the server more disk{_or_quota('max-store')}"
    if error.err_code == NO_DISK:
        return f": lower MEDIA_MAX_BYTES or EVENTS_MAX_BYTES, or give the server more disk{_or_quota('max-store')}"
    if quota := TOO_MANY.get(error.err_code or 0):
        return f": delete what is not needed there{_or_quota(quota)}"
    return ": lower STREAM_REPLICAS to the number of servers" if error.err_code == NO_CLUSTER else ""


def _or_quota(option: str) -> str:
    return f", or a tenant a larger quota: 'tidegate accounts DIR --tenant NAME --{option} …'"


async def _answered(js: JetStreamContext) -> str:
    """Return once JetStream answers: a new cluster does not, until its servers have a leader."""
    for tries_left in reversed(range(TRIES)):
        try:
            await js.stream_info(names.MEDIA)
        except NotFoundError:
            break
        except (TimeoutError, nats.errors.Error):
            if not tries_left:
                raise
            await asyncio.sleep(1)
        else:
            break
    return ""


async def _lost(js: JetStreamContext) -> set[str]:
    """Return the streams of _NAMED that are missing while references to them exist. An unreachable server fails the
    next request.
    """
    missing = set()
    for name in _NAMING:
        try:
            await js.stream_info(name)
        except NotFoundError:
            missing.add(name)
        except (TimeoutError, nats.errors.Error):
            return set()
    return missing.intersection(_NAMED) if len(missing) < len(_NAMING) else set()


async def _apply_stream(js: JetStreamContext, want: StreamConfig, *, late: bool = False) -> str:
    """late: a created stream starts above all former sequences."""
    try:
        have = (await js.stream_info(str(want.name))).config
    except NotFoundError:
        want = want.evolve(num_replicas=want.num_replicas or await _copies(js))
        await js.add_stream(want.evolve(first_seq=time.time_ns() // 1_000_000) if late else want)
        return "created"
    if _differs(want, have):
        unchanged = {
            k: v for k, v in vars(have).items() if not vars(want)[k] and (k in _FOR_EVER or vars(want)[k] is None)
        }
        await js.update_stream(want.evolve(**unchanged))
        return "updated"
    return ""


async def _copies(js: JetStreamContext) -> int | None:
    """Return MEDIA's copies: a new version's streams survive a server too, even without that setting at setup."""
    try:
        return (await js.stream_info(names.MEDIA)).config.num_replicas
    except NotFoundError:
        return None


async def _apply_consumer(js: JetStreamContext, stream: str, want: ConsumerConfig) -> str:
    try:
        have = (await js.consumer_info(stream, str(want.durable_name))).config
    except NotFoundError:
        await js.add_consumer(stream, want)
        return "created"
    # The server refuses to move the start of a consumer.
    want = want.evolve(**{k: getattr(have, k) for k in _START})
    if _differs(want, have):
        await js.add_consumer(stream, want)
        return "updated"
    return ""


def _differs(want: StreamConfig | ConsumerConfig, have: StreamConfig | ConsumerConfig) -> bool:
    """Return whether any field that `want` sets has another value on the server. 0 and unset keep the server's.

    A flag that is off is set, too: one that an older version turned on is turned off, if the server can.
    """
    on = (k for k, v in vars(want).items() if v is False and k not in _FOR_EVER and getattr(have, k))
    return any(on) or any(v and not _is_same(v, getattr(have, k)) for k, v in vars(want).items())


def _is_same(want: object, have: object) -> bool:
    """Compare two values: -1 asks for no limit, which the server may report as 0 or omit."""
    return want == have or str(want) == str(have) or (want == -1 and not have)
