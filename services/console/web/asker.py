"""The user of a request, their role and the cameras that they may see. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """A person, or a program with a token of theirs.

    name: theirs. role: each includes the rights of those before it. cameras: those that they may see; None: all. via:
    how they authenticated. csrf: the token that a browser with a session must repeat; empty without a cookie. key: of
    the session or the token in the bucket. expires: when their authentication ends, Unix seconds.
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
        """Whether they have the rights of this role."""
        return ROLES.index(self.role) >= ROLES.index(role)
