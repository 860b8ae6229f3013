"""A request to erase what a service has of a camera, and its answer. Pure.

Only the process that owns the camera answers. A long erasure takes several requests: each does a part of it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.names import Token
from shared.contract.reading.bounds import Count, Instant


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """since, until: of the video; None: no bound. dry_run: count, and change nothing. despite_hold: erase also
    recordings that a policy holds.
    """

    camera: Token
    since: Instant | None = None
    until: Instant | None = None
    dry_run: bool = False
    despite_hold: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it covers all that there is of the camera."""
        return self.since is None and self.until is None


class Erased(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """count, size: of erased items, and of their bytes. since, until: what that shows, which may exceed the
    request, as whole files go. more: whether another request has to follow. remark: the rest, and why it stays.
    """

    count: Count = 0
    size: Count = 0
    since: Instant | None = None
    until: Instant | None = None
    more: bool = False
    remark: Annotated[str, Meta(max_length=1000)] = ""
