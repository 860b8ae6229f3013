"""The one declaration of streams, consumers and buckets, and how it is applied. Services only bind to them.

Applying twice changes nothing. A limit that a server can't take is an error that names the stream and the setting.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from shared.contract.missing import Unread
from shared.runtime.errors import BusError

MINUTE = 60.0
MB = 1024 * 1024
GB = 1024 * MB

# JetStream is asked so often whether it is there: servers that start take some seconds to choose a leader.
TRIES = 6

# Entries of leases outlive an outage, so that their holders go on after it. It ends what dead processes leave behind.
LEASES_KEPT_S = 60 * MINUTE

# For so long EVENTS and DLQ know ids at most. Each takes the server 200 to 500 bytes of memory, and 5 µs of a core at a
# start, when it reads all messages that are younger.
LONGEST_KNOWN_S = 60 * MINUTE

# The largest job has a prompt of 4000 characters and a thousand segments; a usual one has some hundred bytes.
JOB_BYTES = 64 * 1024
# For so long events are kept.
EVENTS_KEPT_S = 7 * 24 * 60 * MINUTE
# An incident takes some 6 kB, its alert and updates included: this holds as many as the console shows.
ALERTS_BYTES = 128 * MB
# What is put off takes this on disk at most: 400 bytes for each segment, ten minutes of 500 cameras.
BACKFILL_BYTES = 128 * MB
BACKFILL_JOB_BYTES = 4096
# What jobs of one urgency take on disk at most, so that whoever may publish them can't fill it.
JOBS_BYTES = 48 * MB
# What the checkpoints of analytics take at most, a few kB a camera, so that whoever may write them can't either.
CHECKPOINTS_BYTES = 256 * MB
# What the ledgers of recorders take at most, some 60 kB a camera.
LEDGERS_BYTES = 64 * MB
# What scalers have seen of the last hour, some 10 kB a service.
LEARNED_KEPT_S = 7200.0
LEARNED_BYTES = 16 * MB
# What cv knows of quiet cameras' scenes: some 15 kB each, and a small picture in it, which is not kept for long.
SCENES_KEPT_S = 60 * MINUTE
SCENE_BYTES = 256 * 1024
SCENES_BYTES = 64 * MB
# What was used is kept for so long, or as long as there is room: see docs/how-to/audit.md for how long that is.
USAGE_KEPT_S = 100 * 24 * 60 * MINUTE
USAGE_BYTES = 128 * MB
USAGE_MESSAGE_BYTES = 256 * 1024
# What people changed is kept for so long, or as long as there is room: some 400 bytes each.
AUDIT_KEPT_S = 400 * 24 * 60 * MINUTE
AUDIT_BYTES = 64 * MB
AUDIT_MESSAGE_BYTES = 16 * 1024
# Who may use the console, some 300 bytes each, and sessions. And what they have reviewed, 100 bytes each.
CONSOLE_BYTES = 16 * MB
REVIEWS_BYTES = 32 * MB
# How far runs over recordings are, some 700 bytes each. One that has said nothing for so long is forgotten.
RUNS_KEPT_S = 30 * 24 * 60 * MINUTE
RUNS_BYTES = 16 * MB
RUN_BYTES = 256 * 1024
# A lease says which process has it, and there are as many as cameras and processes: 50 MB in all.
LEASE_BYTES = 1024
LEASES_MOST = 50_000
# Streams whose sequences are in ids and checkpoints. One that was lost, while what names them was kept, begins where it
# has not been: by 1 again, a new segment's event would be known by its id, and dropped.
_NAMED = (names.MEDIA, names.EVENTS, names.ALERTS)
_NAMING = (*_NAMED, f"KV_{names.ANALYTICS}")

# The server's whole numbers end at 2**63, which for ages are nanoseconds: nobody wants more than these.
MOST = 10**18
MOST_AGE_S = 1e9
# The server's codes for a limit that its disk, or the account's quota, can't hold; for copies where it is alone; for a
# quota of consumers, and one of streams.
NO_DISK, NO_CLUSTER = 10047, 10074
TOO_MANY = {10026: "max-consumers", 10027: "max-streams"}
# Flags that the server never turns off again.
_FOR_EVER = ("deny_delete", "deny_purge", "sealed")


class TopologySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that `tidegate setup` gives the streams."""

    media_max_bytes: Annotated[int, Meta(gt=0, le=MOST, description="bytes of video kept in MEDIA")] = 10 * GB
    media_max_age_s: Annotated[float, Meta(gt=0, le=MOST_AGE_S, description="seconds of video kept in MEDIA")] = (
        10 * MINUTE
    )
    events_max_bytes: Annotated[int, Meta(gt=0, le=MOST, description="bytes of events kept in EVENTS")] = 10 * GB
    dlq_max_bytes: Annotated[int, Meta(gt=0, le=MOST, description="bytes of dead letters kept in DLQ")] = 2 * GB
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
    """Every stream, as the contract has it."""
    return [_media(s), _events(s), _alerts(s), *_vlm(s), _backfill(s), _dead_letters(s), _usage(s), _audit(s)]


def _media(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.MEDIA,
        [names.media(">")],
        s,
        max_age=s.media_max_age_s,
        max_bytes=s.media_max_bytes,
        # As long as ingest may hold a segment whose first try was stored unseen.
        duplicate_window=s.media_max_age_s,
        republish=_heads(names.media(">")),
    )


def _events(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.EVENTS,
        [f"{names.EVENT}.>", f"{names.PAST}.>"],
        s,
        compression=StoreCompression.S2,
        max_age=EVENTS_KEPT_S,
        max_bytes=s.events_max_bytes,
        duplicate_window=_known_s(s),
        # Apps hear what is stored, and each event once; and nothing of the past.
        republish=RePublish(src="events.>", dest=names.stored("events.>")),
    )


def _alerts(s: TopologySettings) -> StreamConfig:
    """Return the stream that copies what somebody should act on, so that no other kind takes its room.

    The server copies it from EVENTS within milliseconds, and up to two minutes later after it has lost a peer. So it is
    for those who look back; the webhook takes alerts from EVENTS. Nobody can publish to it.
    """
    subjects = [names.event(kind, ">") for kind in names.COPIED]
    return _stream(
        names.ALERTS,
        None,
        s,
        sources=[StreamSource(name=names.EVENTS, subject_transforms=[SubjectTransform(x, x) for x in subjects])],
        compression=StoreCompression.S2,
        max_age=EVENTS_KEPT_S,
        max_bytes=ALERTS_BYTES,
        duplicate_window=_known_s(s),
    )


def _known_s(s: TopologySettings) -> float:
    """What a segment became is known until MEDIA has forgotten it, and whoever had it in hand then is done."""
    return min(LONGEST_KNOWN_S, max(15 * MINUTE, s.media_max_age_s + 5 * MINUTE))


def _vlm(s: TopologySettings) -> list[StreamConfig]:
    """A stream for each urgency: within one stream, which has one limit, one kind would take another's room."""
    return [
        _jobs(names.VLM, s, max_msgs=s.vlm_max_msgs),
        _jobs(names.ASKS, s, max_msgs=s.vlm_max_asks),
        _jobs(names.CAPTIONS, s, max_msgs=s.vlm_max_captions),
    ]


def _jobs(name: str, s: TopologySettings, *, max_msgs: int) -> StreamConfig:
    return _stream(
        name,
        # A kind that no consumer takes is refused, rather than kept for nobody.
        [subject for c in _wanted(s) if c.stream == name for subject in c.filters],
        s,
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_age=60 * MINUTE,
        max_msgs=max_msgs,
        max_msg_size=JOB_BYTES,
        max_bytes=JOBS_BYTES,
        # A job may say how long somebody waits for its answer: then the server forgets it by itself.
        allow_msg_ttl=True,
        # A job published again while its verdict counts as known is the same job.
        duplicate_window=15 * MINUTE,
        republish=_heads("jobs.vlm.>"),
    )


def _backfill(s: TopologySettings) -> StreamConfig:
    """What is put off outlives its video: whoever takes a job whose segment is gone says that no revision will come.

    So nothing ends here unsaid before the event that waits for its revision has gone from EVENTS. What has no room is
    refused, and said to be lost by who put it off. Nobody is told of a job: none is urgent.
    """
    return _stream(
        names.BACKFILL,
        [subject for c in _wanted(s) if c.stream == names.BACKFILL for subject in c.filters],
        s,
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_age=EVENTS_KEPT_S,
        max_msg_size=BACKFILL_JOB_BYTES,
        max_bytes=BACKFILL_BYTES,
        # A segment that comes again is put off once, as its event is stored once.
        duplicate_window=_known_s(s),
    )


def _dead_letters(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.DLQ,
        # The advisory is all that tells of a message whose last worker died with it.
        [names.dead_letters(">"), f"{names.MAX_DELIVERIES}.>"],
        s,
        max_age=30 * 24 * 60 * MINUTE,
        max_bytes=s.dlq_max_bytes,
        # A burial whose message could not be answered for any more comes again after an outage.
        duplicate_window=LONGEST_KNOWN_S,
    )


def _usage(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.USAGE,
        [names.usage("*")],
        s,
        compression=StoreCompression.S2,
        max_age=USAGE_KEPT_S,
        max_bytes=USAGE_BYTES,
        max_msg_size=USAGE_MESSAGE_BYTES,
    )


def _audit(s: TopologySettings) -> StreamConfig:
    return _stream(
        names.AUDIT,
        [names.audit(">")],
        s,
        compression=StoreCompression.S2,
        max_age=AUDIT_KEPT_S,
        max_bytes=AUDIT_BYTES,
        max_msg_size=AUDIT_MESSAGE_BYTES,
        # Whoever could change a log would change what it says of them.
        deny_delete=True,
        deny_purge=True,
    )


def _stream(name: str, subjects: list[str] | None, s: TopologySettings, **more: Any) -> StreamConfig:
    """On disk and readable by direct get; the oldest message goes first, unless `more` says otherwise."""
    common: dict[str, Any] = {
        "retention": RetentionPolicy.LIMITS,
        "discard": DiscardPolicy.OLD,
        "storage": StorageType.FILE,
        "allow_direct": True,
        "num_replicas": s.stream_replicas or None,
    }
    return StreamConfig(name=name, subjects=subjects, **common | more)


def _heads(subject: str) -> RePublish:
    """The headers of what is stored, told to whoever listens: the scaler hears of a first message and sees no video."""
    return RePublish(src=subject, dest=names.stored(subject), headers_only=True)


def consumers(s: TopologySettings) -> list[tuple[str, ConsumerConfig]]:
    """(stream, durable pull consumer) of every service. No inactive_threshold: scale to zero must not delete them."""
    return [(c.stream, _durable(c, s)) for c in _wanted(s)]


def _wanted(s: TopologySettings) -> list[Consumer]:
    """The catalog's consumers, as the settings have them."""
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
    """The stream of every KV bucket, by the bucket's name."""
    kept = (names.CAMERAS, names.CREDENTIALS, names.RULES, names.RECORDINGS)
    found = {b: _bucket(b, s) for b in kept}
    found[names.ANALYTICS] = _bucket(names.ANALYTICS, s, max_bytes=CHECKPOINTS_BYTES)
    found[names.RECORDER] = _bucket(names.RECORDER, s, max_bytes=LEDGERS_BYTES)
    found[names.SCALER] = _bucket(names.SCALER, s, max_age=LEARNED_KEPT_S, max_bytes=LEARNED_BYTES)
    found[names.SCENES] = _bucket(
        names.SCENES, s, max_age=SCENES_KEPT_S, max_bytes=SCENES_BYTES, max_msg_size=SCENE_BYTES
    )
    found[names.CONSOLE] = _bucket(names.CONSOLE, s, max_bytes=CONSOLE_BYTES)
    # An incident that is no longer kept has been reviewed by nobody.
    found[names.REVIEWS] = _bucket(names.REVIEWS, s, max_age=EVENTS_KEPT_S, max_bytes=REVIEWS_BYTES)
    found[names.RUNS] = _bucket(names.RUNS, s, max_age=RUNS_KEPT_S, max_bytes=RUNS_BYTES, max_msg_size=RUN_BYTES)
    for b in (names.LEASES, names.PARTITIONS, names.RECORDERS):
        found[b] = _bucket(b, s, max_age=LEASES_KEPT_S, max_msgs=LEASES_MOST, max_msg_size=LEASE_BYTES)
    return found


def _bucket(name: str, s: TopologySettings, *, max_age: float = 0, **limits: int) -> StreamConfig:
    """As KV clients expect it, but that no header of a writer can empty it, and that it says what changes."""
    return _stream(
        f"KV_{name}",
        [f"$KV.{name}.>"],
        s,
        max_msgs_per_subject=1,
        max_age=max_age,
        discard=DiscardPolicy.NEW,
        duplicate_window=2 * MINUTE,
        # A password is overwritten on disk by deleting its message.
        deny_delete=name != names.CREDENTIALS,
        # The settings of a camera that was removed expire, and so do sessions, links and states that were forgotten.
        allow_msg_ttl=True if name in (names.CAMERAS, names.CONSOLE, names.ANALYTICS) else None,
        allow_rollup_hdrs=False,
        republish=RePublish(src=f"$KV.{name}.>", dest=names.change(name, ">")),
        **limits,
    )


async def apply(js: JetStreamContext, s: TopologySettings) -> list[str]:
    """Create what is missing and update what differs; return a line for each that changed. Raises BusError."""
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
    """Create the consumers that are missing, update those that differ; a line for each. Raises BusError."""
    done: list[str] = []
    for c in wanted:
        done += await _attempt(f"consumer {c.name}", _apply_consumer(js, c.stream, _durable(c, s)))
    return done


async def renew_consumer(js: JetStreamContext, s: TopologySettings, stream: str, name: str) -> None:
    """Delete a durable consumer and make it anew, so that it delivers everything again. Raises BusError."""
    (config,) = [c for of, c in consumers(s) if (of, c.durable_name) == (stream, name)]

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
    """The setting that asks for more than the server has, if it is one."""
    stream = what.removeprefix("stream ")
    if error.err_code == NO_DISK and stream in (names.MEDIA, names.EVENTS, names.DLQ):
        return f": lower {stream}_MAX_BYTES, or give the server more disk{_or_quota('max-store')}"
    if error.err_code == NO_DISK:
        return f": lower MEDIA_MAX_BYTES or EVENTS_MAX_BYTES, or give the server more disk{_or_quota('max-store')}"
    if quota := TOO_MANY.get(error.err_code or 0):
        return f": delete what is not needed there{_or_quota(quota)}"
    return ": lower STREAM_REPLICAS to the number of servers" if error.err_code == NO_CLUSTER else ""


def _or_quota(option: str) -> str:
    return f", or a tenant a larger quota: 'tidegate accounts DIR --tenant NAME --{option} …'"


async def _answered(js: JetStreamContext) -> str:
    """Return once JetStream answers: a cluster that has just started does not, until its servers have a leader."""
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
    """Those of _NAMED that are missing while something names them. Where nobody answers, what comes next says so."""
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
    """late: a stream that is made begins with a sequence that none has had."""
    try:
        have = (await js.stream_info(str(want.name))).config
    except NotFoundError:
        want = want.evolve(num_replicas=want.num_replicas or await _copies(js))
        await js.add_stream(want.evolve(first_seq=time.time_ns() // 1_000_000) if late else want)
        return "created"
    if _differs(want, have):
        kept = {k: v for k, v in vars(have).items() if not vars(want)[k] and (k in _FOR_EVER or vars(want)[k] is None)}
        await js.update_stream(want.evolve(**kept))
        return "updated"
    return ""


async def _copies(js: JetStreamContext) -> int | None:
    """Of MEDIA: what a new version adds to a cluster shall outlive a server too, also where setup is not told so."""
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
    if _differs(want, have):
        await js.add_consumer(stream, want)
        return "updated"
    return ""


def _differs(want: StreamConfig | ConsumerConfig, have: StreamConfig | ConsumerConfig) -> bool:
    """Whether any field that `want` sets has another value on the server. 0 and unset leave it as it is there.

    A flag that is off is set, too: one that an older version had turned on is turned off, where the server can.
    """
    on = (k for k, v in vars(want).items() if v is False and k not in _FOR_EVER and getattr(have, k))
    return any(on) or any(v and not _is_same(v, getattr(have, k)) for k, v in vars(want).items())


def _is_same(want: object, have: object) -> bool:
    """-1 asks for no limit, which the server may say as 0 or not at all."""
    return want == have or str(want) == str(have) or (want == -1 and not have)
