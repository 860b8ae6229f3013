"""What is recorded, read and changed in the store: an index for each hour of a camera, and a catalogue of its hours.

    library = Library(store)
    files, holes = await library.between("lobby", since, until, running)     # running: of the ledger, the last hour

Only who records a camera changes what is here of it. An index is written before the files that it leaves out are
removed, and after those that it names are written: whoever reads it finds them, but for the moment in which they go.
"""

from __future__ import annotations

import contextlib
import datetime as dt

from shared.recordings import records
from shared.recordings.ledger import merged
from shared.recordings.records import (
    INDEX,
    Catalogue,
    Hole,
    Hour,
    Recorded,
    Sum,
    Unreadable,
    catalogue_key,
    hour_key,
    hours_of,
)
from shared.recordings.store import Missing, Store
from shared.recordings.windows import LONGEST

# What ends the name of an index that was set aside.
DAMAGED = ".damaged"


class Library:
    """See the module. Everything raises Unkept where the store can't be used."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def hour(self, camera: str, hour: dt.datetime) -> Hour | None:
        """The index of an hour; None where there is none. Raises Unreadable where it was damaged."""
        key = hour_key(camera, hour)
        try:
            return records.decode(await self.store.read(key), Hour)
        except Missing:
            return None
        except Unreadable as e:
            raise Unreadable(f"{key} is no index of recordings: {e}") from e

    async def mended(self, camera: str, hour: dt.datetime) -> Hour | None:
        """The same for who changes it. One that was damaged is set aside: recording goes on, and what it named stays
        where it is, until all of its hour is old enough to go.
        """
        try:
            return await self.hour(camera, hour)
        except Unreadable:
            key = hour_key(camera, hour)
            await self.store.copy(key, f"{key}{DAMAGED}")
            empty = Hour(camera=camera, hour=hour)
            await self.keep(empty)
            return empty

    async def close(self, hour: Hour) -> None:
        """Have an hour's index hold this, too, and the catalogue say so."""
        whole = merged(await self.mended(hour.camera, hour.hour), hour)
        await self.keep(whole)
        await self.keep_catalogue((await self.catalogue(hour.camera)).having(Sum.of(whole)))

    async def keep(self, hour: Hour) -> None:
        """Write an hour's index anew."""
        await self.store.put(hour_key(hour.camera, hour.hour), [records.encode(hour)])

    async def catalogue(self, camera: str) -> Catalogue:
        """What there is of a camera, hour by hour. One that is missing or was damaged is made anew of the indexes."""
        try:
            return records.decode(await self.store.read(catalogue_key(camera)), Catalogue)
        except (Missing, Unreadable):
            found = Catalogue(camera=camera)
        for held in await self.store.held(camera):
            if held.key.endswith(INDEX):
                with contextlib.suppress(Missing, Unreadable):
                    found = found.having(Sum.of(records.decode(await self.store.read(held.key), Hour)))
        return found

    async def keep_catalogue(self, catalogue: Catalogue) -> None:
        await self.store.put(catalogue_key(catalogue.camera), [records.encode(catalogue)])

    async def between(
        self, camera: str, since: dt.datetime, until: dt.datetime, running: Hour | None
    ) -> tuple[list[Recorded], list[Hole]]:
        """The files that show something of [since, until), and the holes in it, by time."""
        files: dict[str, Recorded] = {}
        holes: dict[Hole, None] = {}
        for hour in hours_of(since, until, LONGEST):
            closed = await self.hour(camera, hour)
            for part in (closed, running if running and running.hour == hour else None):
                files |= {file.key: file for file in (part.files if part else ())}
                holes |= dict.fromkeys(part.holes if part else ())
        return (
            sorted((f for f in files.values() if f.start < until and f.end > since), key=lambda f: (f.start, f.key)),
            sorted((h for h in holes if h.since < until and h.until > since), key=lambda h: h.since),
        )
