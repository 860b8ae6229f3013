"""People and groups as admins read and write them: never a password's hash. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from services.console.people.asker import Role
from services.console.people.records import EXPECTED, Cameras, Person, Session
from shared.contract.names import Token
from shared.contract.segment import rfc3339

Groups = Annotated[tuple[Token, ...], Meta(max_length=100)]
# So many names are kept of a change, in the audit log.
_MOST_TOLD = 40


class PersonShown(msgspec.Struct, frozen=True, kw_only=True):
    """sees_all: every camera; else `cameras`, and those of `groups`. by_provider: whether they may sign in by the
    organisation; provider_known: whether they have. sessions, tokens: how many there are. signed_in: when the newest of
    these sessions began.
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
    """All that an admin says of somebody: what is left out is as here. by_provider: None: as it is."""

    role: Role
    sees_all: bool = False
    cameras: Cameras = ()
    groups: Groups = ()
    disabled: bool = False
    by_provider: bool | None = None


class GroupShown(msgspec.Struct, frozen=True, kw_only=True):
    """people: those who are in it."""

    name: str
    cameras: list[str]
    people: list[str]


class GroupChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cameras of a group."""

    cameras: Cameras = ()


def person(name: str, record: Person, sessions: Iterable[Session | None], tokens: int) -> PersonShown:
    """sessions, tokens: theirs."""
    began = [session.began for session in sessions if session]
    return PersonShown(
        name=name,
        role=record.role,
        sees_all=record.sees_all,
        cameras=list(record.cameras),
        groups=list(record.groups),
        disabled=record.disabled,
        has_password=bool(record.password),
        by_provider=bool(record.provider),
        provider_known=record.provider not in ("", EXPECTED),
        sessions=len(began),
        tokens=tokens,
        signed_in=time_of(max(began)) if began else None,
    )


def changed(record: Person | None, change: PersonChange, now: float) -> Person:
    """The record after a change. Whoever is made, or let in again, has no session of before."""
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


def told(change: PersonChange) -> dict[str, Any]:
    """A change as the audit log has it."""
    return {
        "role": change.role,
        "sees_all": change.sees_all,
        "disabled": change.disabled,
        "by_provider": change.by_provider,
        "groups": list(change.groups[:_MOST_TOLD]),
        **told_cameras(change.cameras),
    }


def told_cameras(cameras: Cameras) -> dict[str, Any]:
    """As the audit log has them, which takes no more than 16 kB."""
    return {"cameras": list(cameras[:_MOST_TOLD]), "cameras_count": len(cameras)}


def time_of(unix: float) -> str:
    return rfc3339(dt.datetime.fromtimestamp(unix, dt.UTC))
