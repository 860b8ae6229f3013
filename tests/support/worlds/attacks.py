"""What the holder of an identity's password can try on the bus, from the catalog: calls, subjects, headers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from shared.contract import catalog, names, topology
from shared.contract.events import KINDS
from shared.contract.rights import identities
from shared.contract.rights.accounts import Tenant
from shared.contract.rights.identities import Permissions, Rights
from shared.contract.rights.readers import Reader
from shared.contract.work.jobs import KINDS as JOBS
from tests.support.waiting import patience_s

LIMITS = topology.TopologySettings()
# Readers are not in the catalog: these are on every attacked server.
READERS = (Reader(name="desk", kinds=("alerts",), cameras=("yard",)), Reader(name="archive"))
TENANT = Tenant(readers=READERS)
RIGHTS: Mapping[str, Rights] = TENANT.rights
PERMISSIONS: Mapping[str, Permissions] = {
    **identities.permissions(),
    **{r.identity: identities.permitted(r.identity, RIGHTS[r.identity]) for r in READERS},
}
# Of every request to JetStream: a stream, a consumer, and the payload.
STREAM_CALLS = {
    "STREAM.CREATE.{s}": '{{"name": "{s}", "subjects": ["evil.>"]}}',
    "STREAM.UPDATE.{s}": '{{"name": "{s}", "subjects": ["evil.>"], "max_msgs": 1}}',
    "STREAM.DELETE.{s}": "",
    "STREAM.PURGE.{s}": "",
    "STREAM.INFO.{s}": "",
    "STREAM.MSG.DELETE.{s}": '{{"seq": 1}}',
    "STREAM.MSG.GET.{s}": '{{"seq": 1}}',
    "STREAM.SNAPSHOT.{s}": '{{"deliver_subject": "{inbox}"}}',
    "STREAM.RESTORE.{s}": '{{"config": {{"name": "{s}"}}, "state": {{}}}}',
    "STREAM.LEADER.STEPDOWN.{s}": "",
    "STREAM.PEER.REMOVE.{s}": '{{"peer": "a"}}',
    "DIRECT.GET.{s}": '{{"seq": 1}}',
    "DIRECT.GET.{s}.{subject}": "",
    "CONSUMER.LIST.{s}": "",
    "CONSUMER.NAMES.{s}": "",
    "CONSUMER.CREATE.{s}": '{{"stream_name": "{s}", "config": {{"deliver_subject": "svc.ask", "ack_policy": "none"}}}}',
    "CONSUMER.CREATE.{s}.evil": '{{"stream_name": "{s}", "config": {{"name": "evil", "durable_name": "evil", '
    '"ack_policy": "explicit"}}}}',
    "CONSUMER.CREATE.{s}.evil.{subject}": '{{"stream_name": "{s}", "config": {{"name": "evil", '
    '"filter_subject": "{subject}", "deliver_subject": "{inbox}", "ack_policy": "none"}}}}',
    "CONSUMER.DURABLE.CREATE.{s}.evil": '{{"stream_name": "{s}", "config": {{"durable_name": "evil", '
    '"ack_policy": "explicit"}}}}',
}
CONSUMER_CALLS = {
    "CONSUMER.INFO.{s}.{c}": "",
    "CONSUMER.DELETE.{s}.{c}": "",
    "CONSUMER.PAUSE.{s}.{c}": '{{"pause_until": "2100-01-01T00:00:00Z"}}',
    "CONSUMER.UNPIN.{s}.{c}": '{{"group": "a"}}',
    "CONSUMER.RESET.{s}.{c}": "",
    "CONSUMER.LEADER.STEPDOWN.{s}.{c}": "",
    "CONSUMER.MSG.NEXT.{s}.{c}": '{{"batch": 1, "no_wait": true}}',
}
OTHER_CALLS = ("INFO", "STREAM.NAMES", "STREAM.LIST", "META.LEADER.STEPDOWN", "ACCOUNT.PURGE.TIDEGATE")
# Headers that could give a rightful message further effects.
FORGED: tuple[Mapping[str, str], ...] = (
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-TTL": "1s"},
    {"Nats-Marker-Reason": "Purge"},
    {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "$KV.cameras.lobby"},
    {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    {"Nats-Incr": "+1"},
    {"Nats-Trace-Dest": "$KV.cameras.lobby"},
    {"Nats-Trace-Dest": "$JS.API.STREAM.PURGE.EVENTS"},
    {"Nats-Request-Info": '{"acc":"TIDEGATE","svc":"TIDEGATE","user":"admin"}'},
    {"Nats-Stream-Source": "KV_cameras 1 > > >"},
    {"Nats-Expected-Stream": "KV_cameras"},
    {"KV-Operation": "PURGE"},
    {"Status": "404", "Description": "none"},
)


class Try(NamedTuple):
    """A message to send. reply: the subject for the answer."""

    subject: str
    payload: bytes = b"?"
    reply: str = ""
    headers: Mapping[str, str] | None = None


def streams() -> dict[str, str]:
    """Every stream, and a subject that it stores, or copies."""
    every = [*topology.streams(LIMITS), *topology.buckets(LIMITS).values()]
    return {str(s.name): example((s.subjects or _copied(s))[0]) for s in every}


def _copied(stream: StreamConfig) -> list[str]:
    return [x.src for source in stream.sources or [] for x in source.subject_transforms or []]


def consumers() -> list[tuple[str, str]]:
    """Stream and name of every durable consumer, those of readers too."""
    found = [(stream, str(config.durable_name)) for stream, config in topology.consumers(LIMITS)]
    return found + [(r.consumer.stream, r.consumer.name) for r in READERS]


def example(pattern: str) -> str:
    """An example subject of a pattern."""
    return re.sub(r"[*>]", "lobby", pattern)


def matches(pattern: str, subject: str) -> bool:
    """By the server's rules: `*` is one token, `>` one or more."""
    return _compiled(pattern).fullmatch(subject) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+"))


@cache
def may_publish(identity: str, subject: str) -> bool:
    """The subject under its own name, or that of an account without JetStream."""
    if subject.startswith(f"{names.API}."):
        subject = names.imported(subject)
    return any(matches(pattern, subject) for pattern in PERMISSIONS[identity]["publish"])


def calls(inbox: str) -> Iterator[tuple[str, str]]:
    """Every request to JetStream: its subject after the prefix, and its payload."""
    for stream, subject in streams().items():
        for call, body in STREAM_CALLS.items():
            names_ = {"s": stream, "subject": subject, "inbox": inbox}
            yield call.format(**names_), body.format(**names_)
    for stream, consumer in consumers():
        for call, body in CONSUMER_CALLS.items():
            yield call.format(s=stream, c=consumer), body.format()
    for call in OTHER_CALLS:
        yield call, ""


def subjects() -> list[str]:
    """Every subject with a subscriber or a stream."""
    found = [*names.streams_of("lobby"), *(names.event(kind.kind, "lobby") for kind in KINDS)]
    found += [names.job(kind.kind, "lobby") for kind in JOBS]
    for service in catalog.services():
        found += [names.dead_letters(service.name), names.stats(service.name, "lobby")]
        found += [names.explain(service.name)]
    for bucket in topology.buckets(LIMITS):
        found += [f"$KV.{bucket}.lobby", f"changes.{bucket}.lobby"]
    for service in catalog.services():
        found += [f"$KV.{b.name}.{example(key)}" for b in service.buckets for key in b.writes]
    for identity, permitted in PERMISSIONS.items():
        found += [f"_INBOX_{identity}.x", *map(example, permitted["subscribe"])]
        found += [example(subject) for subject in permitted["publish"] if subject != ">"]
    for stream, consumer in consumers():
        found += [f"$JS.ACK.{stream}.{consumer}.1.1.1.1.0", f"$JS.FC.{stream}.x.y"]
        found += [f"{names.MAX_DELIVERIES}.{stream}.{consumer}"]
    found += [
        *map(names.stored, names.streams_of("lobby")),
        "$SYS.REQ.ACCOUNT.TIDEGATE.JSZ",
        "$SYS.REQ.SERVER.PING",
        "evil.x",
    ]
    return list(dict.fromkeys(s for s in found if s not in ("lobby", "_INBOX_admin.x")))


def direct(identity: str, inbox: str) -> Iterator[Try]:
    """Messages to all subjects that are forbidden to the identity, under each of their names here."""
    for call, body in calls(inbox):
        for name in (names.API, names.IMPORTED_API, "$JS.TIDEGATE.API"):
            if not may_publish(identity, f"{names.API}.{call}"):
                yield Try(f"{name}.{call}", body.encode(), inbox)
    for subject in subjects():
        if not may_publish(identity, subject):
            yield Try(subject, b"forged", inbox)
            yield Try(subject, b"forged", "", {"Nats-Msg-Id": "forged"})


def by_reply(identity: str) -> Iterator[Try]:
    """Subjects that the identity may publish to, with the replies to subjects that it may not."""
    wanted = [f"{names.API}.{call}" for call, _ in calls(f"_INBOX_{identity}.x")] + subjects()
    forbidden = [subject for subject in dict.fromkeys(wanted) if not may_publish(identity, subject)]
    for pattern in PERMISSIONS[identity]["publish"]:
        for reply in forbidden:
            yield Try(example(pattern), b"?", reply)
            if pattern.startswith(f"{names.IMPORTED_API}."):
                yield Try(example(pattern), json.dumps({"batch": 1, "seq": 1, "no_wait": True}).encode(), reply)


def by_header(identity: str) -> Iterator[Try]:
    """Messages to permitted subjects of the identity, with headers that could have further effects."""
    for pattern in PERMISSIONS[identity]["publish"]:
        for headers in FORGED:
            yield Try(example(pattern), b"?", "", headers)


async def state(js: JetStreamContext) -> dict[str, Any]:
    """Messages and configuration of the store. Each stream is read at one moment: the server may write to it."""
    found: dict[str, Any] = {}
    await _all_copied(js)
    for info in await js.streams_info():
        stream = str(info.config.name)
        messages = await _messages(js, stream, info.state.last_seq)
        while (now := (await js.stream_info(stream)).state.last_seq) != info.state.last_seq:
            info.state.last_seq = now
            messages = await _messages(js, stream, now)
        found[stream] = (info.config.as_dict(), messages)
        for c in await js.consumers_info(stream):
            found[f"{stream} {c.name}"] = (c.config.as_dict(), c.num_ack_pending, c.ack_floor, c.delivered)
    return found


async def _all_copied(js: JetStreamContext) -> None:
    async with asyncio.timeout(4 * patience_s()):
        while True:
            of = (await js.stream_info(names.EVENTS, subjects_filter="events.>")).state.subjects or {}
            count = sum(n for subject, n in of.items() if names.kind_of(subject) in names.COPIED)
            if (await js.stream_info(names.ALERTS)).state.messages >= count:
                return
            await asyncio.sleep(0.02)


async def _messages(
    js: JetStreamContext, stream: str, last_seq: int
) -> list[tuple[int | None, str | None, bytes | None]]:
    """Return sequence, subject and data of every stored message up to `last_seq`."""
    messages = []
    for seq in range(1, last_seq + 1):
        try:
            m = await js.get_msg(stream, seq)
        except nats.js.errors.NotFoundError:
            continue
        messages.append((m.seq, m.subject, m.data))
    return messages


async def send(client: Client, tries: Iterable[Try]) -> int:
    """Send all of them; return how many, once the server has them."""
    sent = 0
    for attempt in tries:
        headers = dict(attempt.headers) if attempt.headers else None
        await client.publish(attempt.subject, attempt.payload, attempt.reply, headers)
        sent += 1
        if sent % 500 == 0:
            await client.flush(timeout=60)
    await client.flush(timeout=60)
    return sent
