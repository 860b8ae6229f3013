"""The finding of a check, and its remedy."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warn", "bad"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """found: a sentence. remedy: what to do; None if all is well. camera: if the finding is about one."""

    what: str
    level: Level
    found: str
    remedy: str | None = None
    camera: str | None = None


def ok(what: str, found: str) -> Finding:
    return Finding(what=what, level="ok", found=found)


def warn(what: str, found: str, remedy: str, camera: str | None = None) -> Finding:
    return Finding(what=what, level="warn", found=found, remedy=remedy, camera=camera)


def bad(what: str, found: str, remedy: str, camera: str | None = None) -> Finding:
    return Finding(what=what, level="bad", found=found, remedy=remedy, camera=camera)
