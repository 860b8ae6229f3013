"""Who may do what on the server: the permissions of each identity, as the catalog's records need them. Pure.

No identity but `admin` may both publish to a subject and pull from it, create or delete anything, or read another's
replies. A worker can't read camera credentials; a viewer can't write. `analytics` reads EVENTS by direct get, and
writes there what only it writes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NotRequired, TypedDict

import msgspec

from shared.contract import catalog, names
from shared.contract.catalog import Bucket, Peer, Read, Service
from shared.contract.names import api

_INFO = api("CONSUMER.INFO")


class Permissions(TypedDict):
    """allow_responses: may answer a request once, wherever its sender wants the answer: in two minutes, or as said."""

    publish: list[str]
    subscribe: list[str]
    allow_responses: NotRequired[bool | dict[str, int | str]]


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """The subjects of one identity, by who answers: an account of its own would import each kind in its own way.

    api: requests to JetStream. acks: acknowledgements and flow control. stored: what a stream keeps and acknowledges.
    told: what is published to whoever listens. asked: requests to services. heard: subscriptions. answered: those
    whose requests it answers.
    """

    api: tuple[str, ...] = ()
    acks: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()

    def __add__(self, other: Rights) -> Rights:
        both = {f: (*getattr(self, f), *getattr(other, f)) for f in self.__struct_fields__}
        return Rights(**{field: tuple(dict.fromkeys(subjects)) for field, subjects in both.items()})


def rights(peer: Peer) -> Rights:
    """What a record needs, and nothing else."""
    discovery = (f"{names.DISCOVERY}.>",) if peer.answers and peer.discovered else ()
    found = Rights(
        api=tuple(api("STREAM.INFO", stream) for stream in peer.states),
        stored=peer.publishes,
        asked=peer.asks,
        heard=(f"_INBOX_{peer.identity}.>", *peer.hears),
        answered=(*peer.answers, *discovery),
    )
    for read in peer.reads:
        found += _read(read)
    for bucket in peer.buckets:
        found += _bucket(bucket)
    if peer.counts_work:
        for stream in catalog.streams_with_work():
            found += Rights(api=(api("STREAM.INFO", stream), f"{_INFO}.{stream}.*"))
    return found + _worker(peer) if isinstance(peer, Service) else found


def _worker(service: Service) -> Rights:
    """Take and acknowledge what its consumers deliver, bury what it can't process, and say how it does."""
    consumers = [f"{c.stream}.{c.name}" for c in service.consumers]
    return Rights(
        api=tuple(subject for c in consumers for subject in (api("CONSUMER.MSG.NEXT", c), f"{_INFO}.{c}")),
        acks=tuple(f"$JS.ACK.{c}.>" for c in consumers),
        stored=(names.dead_letters(service.name),) if service.dead_letters else (),
        told=(names.stats(service.name, ">"),) if service.heartbeat else (),
    )


def _read(read: Read) -> Rights:
    subject = api("DIRECT.GET", read.stream)
    return Rights(api=(subject, f"{subject}.>") if read.by_subject else (subject,))


def _bucket(bucket: Bucket) -> Rights:
    """Bind to a bucket and read single keys; watch it, by an ordered consumer that nats-py creates without a name."""
    stream = f"KV_{bucket.name}"
    keys = f"$KV.{bucket.name}"
    found = Rights(
        api=(api("STREAM.INFO", stream), api("DIRECT.GET", stream, keys, ">")),
        stored=tuple(f"{keys}.{written}" for written in bucket.writes),
    )
    if not bucket.watched:
        return found
    watching = (api("CONSUMER.CREATE", stream), f"{_INFO}.{stream}.>")
    return found + Rights(api=watching, acks=(f"$JS.FC.{stream}.>",))


@cache
def permissions() -> Mapping[str, Permissions]:
    """Of every identity, by its name. Raises SettingError for a record of the catalog that can't be used."""
    peers: dict[str, list[Peer]] = {}
    for peer in (*catalog.services(), *catalog.CLIENTS):
        peers.setdefault(peer.identity, []).append(peer)
    every = {identity: _permissions(records) for identity, records in peers.items()}
    return {"admin": {"publish": [">"], "subscribe": [">"]}, **every}


def _permissions(records: Iterable[Peer]) -> Permissions:
    """The server's form of the rights of one identity's records."""
    whole, within = Rights(), ""
    for peer in records:
        whole += rights(peer)
        within = within or peer.answers_within
    found: Permissions = {
        "publish": [*whole.api, *whole.acks, *whole.stored, *whole.told, *whole.asked],
        "subscribe": [*whole.heard, *whole.answered],
    }
    if whole.answered:
        found["allow_responses"] = {"max": 1, "expires": within} if within else True
    return found


def new_passwords() -> dict[str, str]:
    """A password for every identity."""
    return {user: secrets.token_urlsafe(24) for user in permissions()}


def accounts_block(passwords: Mapping[str, str]) -> str:
    """The `accounts` block of nats-server's configuration, for these passwords (plain, or bcrypt for a cluster)."""
    users = []
    for user, password in passwords.items():
        p = permissions()[user]
        allow = json.dumps(
            {
                "publish": {"allow": p["publish"]} if p["publish"] else {"deny": [">"]},
                "subscribe": {"allow": p["subscribe"]},
                "allow_responses": p.get("allow_responses", False),
            }
        )
        users.append(f"      {{ user: {user}, password: {json.dumps(password)}, permissions: {allow} }}")
    body = "\n".join(users)
    return f"accounts {{\n  {names.ACCOUNT} {{\n    jetstream: enabled\n    users: [\n{body}\n    ]\n  }}\n}}\n"
