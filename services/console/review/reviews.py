"""Incidents that a person has reviewed: an entry of the bucket `reviews` for each, which expires as EVENTS does."""

from __future__ import annotations

import datetime as dt

import msgspec

from services.console.links.mirrored_bucket import MirroredBucket
from shared.contract.reading.bounds import Instant


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """When an incident was reviewed."""

    time: Instant


class Reviews:
    """Reviews of all people."""

    def __init__(self, bucket: MirroredBucket) -> None:
        self._bucket = bucket

    def has(self, person: str, id: str) -> bool:
        return self._bucket.get(_key(person, id)) is not None

    def when(self, person: str, id: str) -> dt.datetime | None:
        found = self._bucket.read(_key(person, id), Review)
        return found.time if found else None

    async def mark(self, person: str, id: str) -> None:
        """Mark an incident as reviewed. Raises Refused if it can't be stored."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        await self._bucket.write(_key(person, id), msgspec.json.encode(Review(time=now)))

    async def clear(self, person: str, id: str) -> None:
        """Remove the mark. Raises as `mark` does."""
        await self._bucket.remove(_key(person, id))


def _key(person: str, id: str) -> str:
    return f"reviewed.{person}.{id}"
