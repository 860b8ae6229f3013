"""Searches that people keep, each their own: entries `saved.<person>.<name>` of the bucket `console`."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from services.console.find.searches import Search
from services.console.people.asker import Asker
from services.console.people.kept import Kept
from services.console.people.records import decode
from services.console.web.refused import Refused
from shared.contract.names import Token, check_token

MOST = 50


class SearchEntry(msgspec.Struct, frozen=True, kw_only=True):
    """title: what its owner calls it; empty: its name."""

    search: Search
    title: Annotated[str, Meta(max_length=100)] = ""


class SavedSearch(SearchEntry, frozen=True, kw_only=True):
    """One that is kept."""

    name: Token


class Searches:
    """See the module."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._turn = asyncio.Lock()  # so that nobody keeps more by asking twice at once

    def all(self, asker: Asker) -> list[SavedSearch]:
        """By name. What is of cameras that they may no longer see is left out."""
        names = [key.rpartition(".")[2] for key in self._kept.keys(f"saved.{asker.name}")]
        return [found for name in names if (found := self._get(asker, name))]

    def get(self, asker: Asker, name: str) -> SavedSearch:
        """Raises Refused."""
        found = self._get(asker, name)
        if found is None:
            raise _none(name)
        return found

    def check(self, asker: Asker, name: str, entry: SearchEntry) -> None:
        """Raises TidegateError where it can't be kept."""
        check_token(name, "the name of a search")
        entry.search.query(dt.datetime.now(dt.UTC))
        keys = self._kept.keys(f"saved.{asker.name}")
        if _key(asker, name) not in keys and len(keys) >= MOST:
            raise Refused(409, f"you keep {MOST} searches already, and no more can be kept: delete one first")

    async def put(self, asker: Asker, name: str, entry: SearchEntry) -> None:
        """In place of the one of this name, if there is one. Raises as `check` does."""
        async with self._turn:
            self.check(asker, name, entry)
            await self._kept.write(_key(asker, name), msgspec.json.encode(entry))

    async def remove(self, asker: Asker, name: str) -> None:
        """Raises Refused."""
        self.get(asker, name)
        await self._kept.remove(_key(asker, name))

    def _get(self, asker: Asker, name: str) -> SavedSearch | None:
        entry = decode(self._kept.get(_key(asker, name)), SearchEntry)
        if entry is None:
            return None
        cameras = [camera for camera in entry.search.cameras if asker.sees(camera)]
        if entry.search.cameras and not cameras:
            return None
        return SavedSearch(name=name, title=entry.title, search=msgspec.structs.replace(entry.search, cameras=cameras))


def may_change(asker: Asker) -> None:
    """Raises Refused for a program: what people keep is their own."""
    if asker.via == "token":
        raise Refused(403, "a token reads saved searches and changes none: save it on the page Find")


def _key(asker: Asker, name: str) -> str:
    return f"saved.{asker.name}.{name}"


def _none(name: str) -> Refused:
    return Refused(404, f"you keep no search {name[:64]!r}")
