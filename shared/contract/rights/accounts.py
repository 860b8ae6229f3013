"""The accounts of nats-server's configuration: one that holds the streams, and one for each identity.

A tenant is all of this under its own name: two tenants on one server share nothing.

An identity's account imports the subjects of its rights, one by one; nothing else of the streams' account exists in it.
The server checks the subject of a request and never its reply subject: here that names a subject of the identity's own
account, where no other identity listens. Pure.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contract import catalog, memory, names
from shared.contract.names import END
from shared.contract.rights import identities
from shared.contract.rights.identities import ADMIN, Permissions, Rights
from shared.contract.rights.readers import Reader

# Requests that get several messages, or answers of several replicas.
_MANY = (names.api("CONSUMER.MSG.NEXT"), names.api("DIRECT.GET"))
# Limits of one account: one stolen password must not exhaust the server's connections, each of which is an open file,
# nor its memory. The server counts subscriptions by connection.
LIMITS = {"max_connections": memory.CONNECTIONS, "max_subscriptions": 1000}
# The server sends an event once per subscription of an app, before it stores the next: 20,000 of them cut EVENTS from
# 4800 to 27 events a second. One app may have many users, a reader has few processes.
APP_LIMITS = {"max_connections": memory.CONNECTIONS, "max_subscriptions": 10}
READER_LIMITS = {"max_connections": 20, "max_subscriptions": 10}
# One identity gets at most this fraction (one in SHARE) of a server's connections.
SHARE = 10


class _Wiring:
    """Collects exports and imports. An export exists once, and lists the accounts that may import it."""

    def __init__(self) -> None:
        self._exports: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
        self._imports: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def service(self, of: str, to: str, subject: str, *, many: bool = False, within: str = "", name: str = "") -> None:
        """Import requests on `subject` of the account `of` into the account `to`, under `name`."""
        more: dict[str, Any] = {"response_type": "Stream"} if many else {}
        more |= {"response_threshold": within} if within else {}
        self._wire("service", of, to, subject, more, name)

    def stream(self, of: str, to: str, subject: str, *, name: str = "") -> None:
        """Import messages on `subject` of the account `of` into the account `to`, under `name`."""
        self._wire("stream", of, to, subject, {}, name)

    def _wire(self, kind: str, of: str, to: str, subject: str, more: dict[str, Any], name: str) -> None:
        export = self._exports[of].setdefault((kind, subject), {kind: subject, **more, "accounts": []})
        if to not in export["accounts"]:
            export["accounts"].append(to)
            self._imports[to].append({kind: {"account": of, "subject": subject}, **({"to": name} if name else {})})

    def of(self, account: str) -> dict[str, Any]:
        """Return the exports and imports of an account."""
        return {"exports": list(self._exports[account].values()), "imports": self._imports[account]}


# The server does not count these as stored: a stream's or a consumer's description takes up to 128 kB of disk, and more
# of memory. Tidegate has 29 streams, including those of buckets; EVENTS has a consumer for each reader.
QUOTA = {"max_mem": 0, "max_streams": 30, "max_consumers": 100}


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account that holds streams, and the readers of its events.

    name: of the account; one not called TIDEGATE has its own users, called `<name>-<identity>`. max_store: bytes that
    its streams may take, and reserve. max_streams, max_consumers: maximum counts, the latter for each stream. None: no
    limit, or that of QUOTA if another limit is set. max_connections: of each service and app; None: those of LIMITS.
    """

    name: Annotated[str, Meta(pattern=rf"^[A-Z][A-Z0-9_]{{0,31}}{END}")] = names.ACCOUNT
    max_store: Annotated[int, Meta(gt=0, le=10**18)] | None = None
    max_streams: Annotated[int, Meta(gt=0, le=10**9)] | None = None
    max_consumers: Annotated[int, Meta(gt=0, le=10**9)] | None = None
    max_connections: Annotated[int, Meta(gt=0, le=10**6)] | None = None
    readers: tuple[Reader, ...] = ()

    @property
    def users(self) -> dict[str, str]:
        """Return the user name of each identity, by identity."""
        return {identity: user_of(self.name, identity) for identity in (ADMIN, *self.rights)}

    @property
    def rights(self) -> dict[str, Rights]:
        """Return the rights of every identity but `admin`."""
        readers = {r.identity: identities.rights(r.peer) for r in self.readers}
        return {**identities.every(), **readers}

    @property
    def jetstream(self) -> str | dict[str, int]:
        """Return its quota for the server's configuration. With a quota, no stream may be in memory."""
        limits = {"max_store": self.max_store, "max_streams": self.max_streams, "max_consumers": self.max_consumers}
        found = {name: limit for name, limit in limits.items() if limit is not None}
        return {**QUOTA, **found} if found else "enabled"


def block(
    passwords: Mapping[str, str],
    tenants: Iterable[Tenant] = (Tenant(),),
    *,
    tells_health: bool = False,
    connections: int | None = None,
) -> str:
    """Return the `accounts` block of the configuration. passwords: of each user, plain or by bcrypt.

    tells_health: `admin` may ask the server for the health of its streams, those of all tenants. connections: the
    server's total limit, if known.
    """
    found: dict[str, Any] = {}
    for tenant in tenants:
        found |= _accounts(tenant, passwords)
    if connections:
        for account in found.values():
            most = min(account["limits"]["max_connections"], max(1, connections // SHARE))
            account["limits"] = {**account["limits"], "max_connections": most}
    if tells_health:
        health = _Wiring()
        health.service(names.SYSTEM, names.ACCOUNT, names.HEALTH, many=True)
        found[names.SYSTEM] = health.of(names.SYSTEM)
        found[names.ACCOUNT]["imports"] += health.of(names.ACCOUNT)["imports"]
    return f"accounts: {json.dumps(found, indent=1)}\n"


def _accounts(tenant: Tenant, passwords: Mapping[str, str]) -> dict[str, Any]:
    every, users, name = tenant.rights, tenant.users, tenant.name
    limits = _limits(tenant)
    wiring = _Wiring()
    for identity, r in every.items():
        _import(wiring, name, identity, r, every)
    admin = _user(users[ADMIN], passwords, identities.permissions()[ADMIN])
    found = {name: {"jetstream": tenant.jetstream, "limits": limits[ADMIN], "users": [admin], **wiring.of(name)}}
    for identity, r in every.items():
        account = account_of(name, identity)
        found[account] = {
            "limits": limits[identity],
            "mappings": {f"{names.API}.>": f"{names.IMPORTED_API}.>"},
            "users": [_user(users[identity], passwords, identities.permitted(identity, r))],
            **wiring.of(account),
        }
    return found


def _limits(tenant: Tenant) -> dict[str, dict[str, int]]:
    """Return the limits of each identity's account, and of admin's."""
    limits = dict.fromkeys((ADMIN, *tenant.rights), LIMITS) | {c.identity: APP_LIMITS for c in catalog.CLIENTS}
    if most := tenant.max_connections:
        limits = {identity: {**limit, "max_connections": most} for identity, limit in limits.items()}
    return limits | {reader.identity: READER_LIMITS for reader in tenant.readers}


def account_of(tenant: str, identity: str) -> str:
    """Return the account of an identity."""
    return tenant if identity == ADMIN else f"{tenant}-{identity}"


def user_of(tenant: str, identity: str) -> str:
    """Return the user name of an identity."""
    return identity if tenant == names.ACCOUNT else f"{tenant}-{identity}"


def _import(wiring: _Wiring, tenant: str, identity: str, r: Rights, every: Mapping[str, Rights]) -> None:
    """Import from other accounts what the rights of one identity need."""
    ours = account_of(tenant, identity)
    for subject in r.api:
        wiring.service(tenant, ours, subject, many=subject.startswith(_MANY), name=names.imported(subject))
    for subject in (*r.acks, *r.stored):
        wiring.service(tenant, ours, subject)
    for subject in r.broadcasts:
        wiring.stream(ours, tenant, subject)
    for subject in r.subscriptions:
        _hear(wiring, tenant, ours, subject, every)
    for other, theirs in every.items():
        # Every service answers the discovery subjects that name no service: an identity finds only the services that it
        # may ask.
        may_ask = {s for s in (*theirs.answered, *theirs.collected) if s in r.requests} - set(names.DISCOVER_ALL)
        for subject in (*theirs.answered, *theirs.collected):
            if may_ask and subject in r.requests:
                _answer(wiring, account_of(tenant, other), ours, subject, theirs)
    for subject in r.requests:
        # A command, as `admin`, answers what no service answers.
        if not any(subject in (*theirs.answered, *theirs.collected) for theirs in every.values()):
            wiring.service(tenant, ours, subject)
    for subject in (*r.answered, *r.collected):
        # nats-server 2.10 refuses one subject from several accounts.
        if subject not in names.DISCOVER_ALL:
            _answer(wiring, ours, tenant, subject, r)


def _hear(wiring: _Wiring, tenant: str, ours: str, subject: str, every: Mapping[str, Rights]) -> None:
    """Import published messages from each publisher's account, all else from the account that holds the streams."""
    publishers = [(other, s) for other, theirs in every.items() for s in theirs.broadcasts if names.overlap(s, subject)]
    for other, published in publishers:
        wiring.stream(account_of(tenant, other), ours, published)
    if subject.startswith(f"{names.EVENT}."):
        # The server forwards what it republishes, but not what came by another account's request.
        wiring.stream(tenant, ours, names.stored(subject), name=subject)
    elif not publishers:
        wiring.stream(tenant, ours, subject)


def _answer(wiring: _Wiring, of: str, to: str, subject: str, theirs: Rights) -> None:
    wiring.service(of, to, subject, many=subject in theirs.collected, within=theirs.answers_within)


def _user(user: str, passwords: Mapping[str, str], p: Permissions) -> dict[str, Any]:
    return {
        "user": user,
        "password": passwords[user],
        "permissions": {
            "publish": {"allow": p["publish"]} if p["publish"] else {"deny": [">"]},
            "subscribe": {"allow": p["subscribe"]},
            "allow_responses": p.get("allow_responses", False),
        },
    }
