"""Who asks, what they may do and which cameras they may see. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """A person, or a program with a token of theirs.

    name: theirs. role: each may what those before it may. cameras: those that they may see; None: all. via: how they
    are known. csrf: what a browser that is signed in has to repeat; empty where there is no cookie. key: of the session
    or the token in the bucket. expires: when they are no longer known, Unix seconds.
    """

    name: str
    role: Role
    cameras: frozenset[str] | None = None
    via: Literal["session", "token", "proxy"] = "session"
    csrf: str = ""
    key: str = ""
    expires: float = 0.0

    def sees(self, camera: str) -> bool:
        return self.cameras is None or camera in self.cameras

    def may(self, role: Role) -> bool:
        """Whether they may what people of this role may."""
        return ROLES.index(self.role) >= ROLES.index(role)
