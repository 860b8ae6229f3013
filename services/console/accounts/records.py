"""Entries of the bucket `console`: people, groups of cameras, sessions, tokens and one-time links. Pure.

Saved searches are there too: see `find.saved_searches`.

The bucket has only a hash of each secret, as its key: a reader of the bucket can't sign in.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Annotated

import msgspec
from msgspec import Meta

from services.console.web.asker import Role
from shared.contract.names import Token

EXPECTED = "expected"
# The key of `Leaving`.
LEAVING = "leaving"
# Tokens begin with this, so that a leaked one is recognized.
TOKEN_PREFIX = "tgc_"  # noqa: S105 - no secret
LINK_S = 24 * 3600.0
Cameras = Annotated[tuple[Token, ...], Meta(max_length=5000)]
Unix = Annotated[float, Meta(ge=0, le=1e12)]


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """sees_all: every camera; else `cameras`, and those of `groups`. password: its hash; empty: none, they sign in by a
    link, a proxy or a provider. since: sessions and tokens from before are invalid, Unix seconds. provider: their id at
    the provider; EXPECTED: the provider's account of this name; empty: no account.
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
        """Whether they may change people: an enabled admin who sees all cameras."""
        return self.role == "admin" and self.sees_all and not self.disabled


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """Admins who are losing that role, and since when, in Unix seconds."""

    people: dict[str, Unix] = {}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Cameras that the group's members may see."""

    cameras: Cameras = ()


class Owned(msgspec.Struct, frozen=True):
    """The owner of a session, a token or a link."""

    person: Token


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in browser. csrf: the token that it repeats in a header of each change. began, expires: Unix seconds."""

    person: Token
    csrf: str
    began: Unix
    expires: Unix


class ApiToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program's token. role and cameras narrow its person's rights, and never widen them."""

    person: Token
    label: Annotated[str, Meta(min_length=1, max_length=100)]
    role: Role
    cameras: Cameras | None = None
    began: Unix
    expires: Unix


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link that signs somebody in once. role: of the person that it creates if there is none of that name."""

    person: Token
    role: Role
    expires: Unix


def person_key(name: str) -> str:
    return f"person.{name}"


def group_key(name: str) -> str:
    return f"group.{name}"


def hashed(kind: str, secret: str) -> str:
    """Return the key of a session, a token or a link. kind: which of these. Random, long secrets need no salt."""
    return f"{kind}.{hashlib.sha256(secret.encode()).hexdigest()}"


def new_secret(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


def new_link(person: str, role: Role, now: float | None = None) -> tuple[str, str, bytes]:
    """Return (secret, key, entry) of a link that signs `person` in once, within a day."""
    secret = new_secret()
    link = Link(person=person, role=role, expires=(time.time() if now is None else now) + LINK_S)
    return secret, hashed("link", secret), msgspec.json.encode(link)
