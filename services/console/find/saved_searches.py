"""Each person's saved searches: entries `saved.<person>.<name>` of the bucket `console`."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from services.console.find.searches import Search
from services.console.links.mirrored_bucket import MirroredBucket
from services.console.web.asker import Asker
from services.console.web.refused import Refused
from shared.contract.names import Token, check_token

MOST = 50


class SearchEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A search to save. title: the owner's title; empty: its name."""

    search: Search
    title: Annotated[str, Meta(max_length=100)] = ""


class SavedSearch(SearchEntry, frozen=True, kw_only=True):
    """A saved search."""

    name: Token


class SavedSearches:
    """Saved searches of all people."""

    def __init__(self, bucket: MirroredBucket) -> None:
        self._bucket = bucket
        self._lock = asyncio.Lock()  # concurrent requests must not exceed the limit

    def all(self, asker: Asker) -> list[SavedSearch]:
        """Return the user's searches by name, without cameras that they may no longer see."""
        names = [key.rpartition(".")[2] for key in self._bucket.keys(f"saved.{asker.name}")]
        return [found for name in names if (found := self._get(asker, name))]

    def get(self, asker: Asker, name: str) -> SavedSearch:
        """Return a saved search. Raises Refused."""
        found = self._get(asker, name)
        if found is None:
            raise Refused(404, f"you keep no search {name[:64]!r}")
        return found

    def check(self, asker: Asker, name: str, entry: SearchEntry) -> None:
        """Check that the search can be saved. Raises TidegateError."""
        check_token(name, "the name of a search")
        entry.search.query(dt.datetime.now(dt.UTC))
        keys = self._bucket.keys(f"saved.{asker.name}")
        if _key(asker, name) not in keys and len(keys) >= MOST:
            raise Refused(409, f"you keep {MOST} searches already, and no more can be kept: delete one first")

    async def put(self, asker: Asker, name: str, entry: SearchEntry) -> None:
        """Save a search; it replaces the one of this name. Raises as `check` does."""
        async with self._lock:
            self.check(asker, name, entry)
            await self._bucket.write(_key(asker, name), msgspec.json.encode(entry))

    async def remove(self, asker: Asker, name: str) -> None:
        """Delete a saved search. Raises Refused."""
        self.get(asker, name)
        await self._bucket.remove(_key(asker, name))

    def _get(self, asker: Asker, name: str) -> SavedSearch | None:
        entry = self._bucket.read(_key(asker, name), SearchEntry)
        if entry is None:
            return None
        cameras = [camera for camera in entry.search.cameras if asker.sees(camera)]
        if entry.search.cameras and not cameras:
            return None
        return SavedSearch(name=name, title=entry.title, search=msgspec.structs.replace(entry.search, cameras=cameras))


def check_may_change(asker: Asker) -> None:
    """Raises Refused for a program: saved searches belong to people."""
    if asker.via == "token":
        raise Refused(403, "a token reads saved searches and changes none: save it on the page Find")


def _key(asker: Asker, name: str) -> str:
    return f"saved.{asker.name}.{name}"
