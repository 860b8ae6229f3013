"""What the bucket `console` holds: people, groups of cameras, sessions, tokens and one-time links. Pure.

Searches that people keep are there too: see `find.saved`.

Of a secret that somebody shows us the bucket has a hash alone, as its key: whoever reads it can't sign in.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from services.console.people.asker import Role
from shared.contract.names import Token

EXPECTED = "expected"
# The key of `Leaving`.
LEAVING = "leaving"
# Tokens begin with this, so that one that is found somewhere is known for what it is.
TOKEN_PREFIX = "tgc_"  # noqa: S105 - no secret
LINK_S = 24 * 3600.0
Cameras = Annotated[tuple[Token, ...], Meta(max_length=5000)]
Unix = Annotated[float, Meta(ge=0, le=1e12)]

T = TypeVar("T", bound=msgspec.Struct)


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """sees_all: every camera; else `cameras`, and those of `groups`. password: its hash; empty: none, so that they come
    by a link, a proxy or a provider. since: Unix seconds before which their sessions and tokens count no more.
    provider: EXPECTED: whoever a provider calls so is this person; or else who that is there; empty: nobody of it.
    """

    role: Role
    sees_all: bool = False
    cameras: Cameras = ()
    groups: Annotated[tuple[Token, ...], Meta(max_length=100)] = ()
    password: Annotated[str, Meta(max_length=512)] = ""
    disabled: bool = False
    since: Unix = 0.0
    provider: Annotated[str, Meta(max_length=512)] = ""

    @property
    def is_admin(self) -> bool:
        """Whether they may change people: they see all cameras, too."""
        return self.role == "admin" and self.sees_all and not self.disabled


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """Admins who are about to be none, and since when, in Unix seconds."""

    people: dict[str, Unix] = {}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Cameras that people may see together."""

    cameras: Cameras = ()


class Owned(msgspec.Struct, frozen=True):
    """Whose a session, a token or a link is."""

    person: Token


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that is signed in. csrf: what it repeats in a header of each change. began, expires: Unix seconds."""

    person: Token
    csrf: str
    began: Unix
    expires: Unix


class ApiToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program's token. role and cameras narrow what its person may, and never widen it."""

    person: Token
    label: Annotated[str, Meta(min_length=1, max_length=100)]
    role: Role
    cameras: Cameras | None = None
    began: Unix
    expires: Unix


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Signs somebody in, once. role: of the person that it makes, where there is none of that name."""

    person: Token
    role: Role
    expires: Unix


def person_key(name: str) -> str:
    return f"person.{name}"


def group_key(name: str) -> str:
    return f"group.{name}"


def hashed(kind: str, secret: str) -> str:
    """The key of a session, a token or a link. kind: which of these. The secrets are random and long: no salt."""
    return f"{kind}.{hashlib.sha256(secret.encode()).hexdigest()}"


def new_secret(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


def new_link(person: str, role: Role, now: float | None = None) -> tuple[str, str, bytes]:
    """(secret, key, entry) of a link that signs `person` in once, within a day."""
    secret = new_secret()
    link = Link(person=person, role=role, expires=(time.time() if now is None else now) + LINK_S)
    return secret, hashed("link", secret), msgspec.json.encode(link)


def decode(data: bytes | None, kind: type[T]) -> T | None:
    """An entry; None where there is none, or none that can be read."""
    try:
        return None if data is None else msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
