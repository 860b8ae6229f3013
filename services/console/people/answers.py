"""People and groups as admins read and write them: never a password's hash. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from services.console.accounts.records import EXPECTED, Cameras, Person, Session
from services.console.web.alike import alike
from services.console.web.asker import Role
from shared.contract.names import Token
from shared.contract.segment import rfc3339

Groups = Annotated[tuple[Token, ...], Meta(max_length=100)]
# Names of a change that the audit log keeps at most.
_MAX_AUDIT_NAMES = 40


class PersonShown(msgspec.Struct, frozen=True, kw_only=True):
    """sees_all: every camera; else `cameras`, and those of `groups`. by_provider: whether they may use single sign-on;
    provider_known: whether they have. sessions, tokens: how many there are. signed_in: start of the newest session.
    """

    name: str
    role: Role
    sees_all: bool
    cameras: list[str]
    groups: list[str]
    disabled: bool
    has_password: bool
    by_provider: bool
    provider_known: bool
    sessions: int
    tokens: int
    signed_in: str | None


class PersonChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An admin's settings of a person; omitted fields take these defaults. by_provider: None: unchanged."""

    role: Role
    sees_all: bool = False
    cameras: Cameras = ()
    groups: Groups = ()
    disabled: bool = False
    by_provider: bool | None = None


class GroupShown(msgspec.Struct, frozen=True, kw_only=True):
    """A group. people: its members."""

    name: str
    cameras: list[str]
    people: list[str]


class GroupChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cameras of a group."""

    cameras: Cameras = ()


def person(name: str, record: Person, sessions: Iterable[Session], tokens: int) -> PersonShown:
    """Return a person as admins see them. sessions, tokens: theirs."""
    began = [session.began for session in sessions]
    return alike(
        PersonShown,
        record,
        name=name,
        cameras=list(record.cameras),
        groups=list(record.groups),
        has_password=bool(record.password),
        by_provider=bool(record.provider),
        provider_known=record.provider not in ("", EXPECTED),
        sessions=len(began),
        tokens=tokens,
        signed_in=time_of(max(began)) if began else None,
    )


def apply_change(record: Person | None, change: PersonChange, now: float) -> Person:
    """Return the record after a change. A person who is new or enabled again has no earlier session."""
    before = record or Person(role=change.role, since=now)
    comes_back = before.disabled and not change.disabled
    provider = before.provider
    if change.by_provider is not None:
        provider = (provider or EXPECTED) if change.by_provider else ""
    return Person(
        role=change.role,
        sees_all=change.sees_all,
        cameras=tuple(dict.fromkeys(change.cameras)),
        groups=tuple(dict.fromkeys(change.groups)),
        disabled=change.disabled,
        password=before.password,
        provider=provider,
        since=now if comes_back else before.since,
    )


def audit_details(change: PersonChange) -> dict[str, Any]:
    """Return a change as the audit log records it."""
    return {
        "role": change.role,
        "sees_all": change.sees_all,
        "disabled": change.disabled,
        "by_provider": change.by_provider,
        "groups": list(change.groups[:_MAX_AUDIT_NAMES]),
        **audit_cameras(change.cameras),
    }


def audit_cameras(cameras: Cameras) -> dict[str, Any]:
    """Return cameras as the audit log records them, which takes at most 16 kB."""
    return {"cameras": list(cameras[:_MAX_AUDIT_NAMES]), "cameras_count": len(cameras)}


def time_of(unix: float) -> str:
    return rfc3339(dt.datetime.fromtimestamp(unix, dt.UTC))
