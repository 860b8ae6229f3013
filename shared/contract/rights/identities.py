"""The rights of each identity on the server, from the catalog's records. Pure.

No identity but `admin` may both publish to a subject and pull from it, create or delete anything, or read another's
replies. There is one exception: cv and embed publish jobs for themselves to BACKFILL, each on its own subject that no
other may publish to or pull from, and a job is no result that others read. A worker can't read camera credentials; a
viewer can't write. `analytics` reads EVENTS by direct get, and only publishes what no other does. Permissions tell this
to the server. An account for each identity, which `accounts` writes, enforces it: the server never checks a request's
reply subject.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NotRequired, TypedDict

import msgspec

from shared.contract import catalog, names
from shared.contract.catalog import Bucket, Consumer, Peer, Read, Service
from shared.contract.names import api

ADMIN = "admin"
_INFO = api("CONSUMER.INFO")


class Permissions(TypedDict):
    """allow_responses: may answer a request once, on any reply subject: within two minutes, or the given time."""

    publish: list[str]
    subscribe: list[str]
    allow_responses: NotRequired[bool | dict[str, int | str]]


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """The subjects of one identity, by the kind of answer: its account imports each kind in its own way.

    api: requests to JetStream. acks: acknowledgements. stored: messages that a stream stores and acknowledges. told:
    messages to any subscriber. requests: to services. subscriptions: to subjects. answered: requests that one replica
    answers; collected: requests that every replica may answer. answers_within: as in the catalog.
    """

    api: tuple[str, ...] = ()
    acks: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    broadcasts: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    collected: tuple[str, ...] = ()
    answers_within: str = ""

    def __add__(self, other: Rights) -> Rights:
        both = {f: (*getattr(self, f), *getattr(other, f)) for f in _SUBJECTS}
        found = {field: tuple(dict.fromkeys(subjects)) for field, subjects in both.items()}
        return Rights(**found, answers_within=self.answers_within or other.answers_within)


_SUBJECTS = tuple(field for field in Rights.__struct_fields__ if field != "answers_within")


def rights(peer: Peer) -> Rights:
    """Return the rights that a record needs, and nothing else."""
    answered = Rights(collected=peer.answers)
    if peer.discovered_as:
        answered = Rights(answered=peer.answers, collected=_discovery(peer.discovered_as))
    found = answered + Rights(
        api=(
            *(api("STREAM.INFO", stream) for stream in peer.states),
            *(api("STREAM.MSG.DELETE", stream) for stream in peer.erases),
        ),
        stored=peer.publishes,
        requests=peer.asks,
        subscriptions=peer.hears,
        answers_within=peer.answers_within,
    )
    for read in peer.reads:
        found += _read(read)
    for bucket in peer.buckets:
        found += _bucket(bucket)
    for consumer in peer.consumers:
        found += _consumer(consumer)
    if peer.counts_work:
        for stream in catalog.streams_with_work():
            found += Rights(api=(api("STREAM.INFO", stream), f"{_INFO}.{stream}.*"))
        consumers = filter(None, (catalog.backfill_consumer(service.name) for service in catalog.services()))
        found += Rights(api=tuple(f"{_INFO}.{names.BACKFILL}.{consumer}" for consumer in consumers))
    return found + _service(peer) if isinstance(peer, Service) else found


def _service(service: Service) -> Rights:
    """Return the rights to dead-letter messages, and to report state and usage."""
    dead_lettered = (names.dead_letters(service.name),) if service.dead_letters else ()
    used = (names.usage(service.name),) if service.heartbeat else ()
    return Rights(
        stored=dead_lettered + used,
        broadcasts=(names.stats(service.name, ">"),) if service.heartbeat else (),
    )


def _discovery(service: str) -> tuple[str, ...]:
    return (*names.DISCOVER_ALL, *names.discovery(service))


def _consumer(consumer: Consumer) -> Rights:
    """Return the rights to take and acknowledge its messages."""
    at = f"{consumer.stream}.{consumer.name}"
    return Rights(api=(api("CONSUMER.MSG.NEXT", at), f"{_INFO}.{at}"), acks=(f"$JS.ACK.{at}.>",))


def _read(read: Read) -> Rights:
    subject = api("DIRECT.GET", read.stream)
    return Rights(api=(subject, f"{subject}.>") if read.by_subject else (subject,))


def _bucket(bucket: Bucket) -> Rights:
    """Return the rights to bind to a bucket and read single keys.

    If the bucket is listed, add the right to read all of it from its leader. If it is watched, add the rights to read
    all of it and hear its changes, without a consumer.
    """
    stream = f"KV_{bucket.name}"
    keys = f"$KV.{bucket.name}"
    found = Rights(
        api=(api("STREAM.INFO", stream), api("DIRECT.GET", stream, keys, ">")),
        stored=tuple(f"{keys}.{written}" for written in bucket.writes),
    )
    if bucket.listed:
        found += Rights(api=(api("STREAM.MSG.GET", stream),))
    if not bucket.watched:
        return found
    return found + Rights(api=(api("DIRECT.GET", stream),), subscriptions=(names.change(bucket.name, ">"),))


@cache
def every() -> Mapping[str, Rights]:
    """Return the rights of every identity but `admin`, by name. Raises SettingError for an unusable record."""
    found: dict[str, Rights] = {}
    roles = (role for service in catalog.services() for role in service.roles)
    for peer in (*catalog.services(), *roles, *catalog.CLIENTS):
        found[peer.identity] = found.get(peer.identity, Rights()) + rights(peer)
    return found


@cache
def permissions() -> Mapping[str, Permissions]:
    """Return the permissions of every identity, by name, in the server's form. Raises SettingError as `every` does."""
    admin: Permissions = {"publish": [">"], "subscribe": [">"]}
    return {ADMIN: admin, **{identity: permitted(identity, r) for identity, r in every().items()}}


def permitted(identity: str, r: Rights) -> Permissions:
    """Return the server's form of an identity's rights, with an inbox of its own."""
    found: Permissions = {
        "publish": [*map(names.imported, r.api), *r.acks, *r.stored, *r.broadcasts, *r.requests],
        "subscribe": [f"_INBOX_{identity}.>", *r.subscriptions, *r.answered, *r.collected],
    }
    if r.answered or r.collected:
        found["allow_responses"] = {"max": 1, "expires": r.answers_within} if r.answers_within else True
    return found


def new_passwords(users: Iterable[str]) -> dict[str, str]:
    """Return a new password for each user."""
    return {user: secrets.token_urlsafe(24) for user in users}
