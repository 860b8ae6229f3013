"""Which incidents a person has reviewed: an entry of the bucket `reviews` for each, which ends as EVENTS forgets."""

from __future__ import annotations

import datetime as dt

import msgspec

from services.console.people.kept import Kept
from services.console.people.records import decode
from shared.contract.bounds import Instant


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """When."""

    time: Instant


class Reviews:
    """See the module."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def has(self, person: str, id: str) -> bool:
        return self._kept.get(_key(person, id)) is not None

    def when(self, person: str, id: str) -> dt.datetime | None:
        found = decode(self._kept.get(_key(person, id)), Review)
        return found.time if found else None

    async def mark(self, person: str, id: str) -> None:
        """Raises Refused where it can't be stored."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        await self._kept.write(_key(person, id), msgspec.json.encode(Review(time=now)))

    async def clear(self, person: str, id: str) -> None:
        """Raises as `mark` does."""
        await self._kept.remove(_key(person, id))


def _key(person: str, id: str) -> str:
    return f"reviewed.{person}.{id}"
