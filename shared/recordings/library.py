"""Reads and updates the index of each hour of a camera, and the catalogue of its hours, in the store.

    library = Library(store)
    files, holes = await library.between("lobby", since, until, running)     # running: of the ledger, the last hour

Only the process that records a camera changes its entries. An index is written after the files that it names, and
before those that it drops are removed: a reader finds its files, except while they are being removed.
"""

from __future__ import annotations

import contextlib
import datetime as dt

from shared.recordings import records
from shared.recordings.ledger import merge_hours
from shared.recordings.records import (
    INDEX,
    Catalogue,
    Hole,
    Hour,
    HourTotals,
    Recorded,
    Unreadable,
    catalogue_key,
    hour_key,
    hours_of,
)
from shared.recordings.store import Missing, Store
from shared.recordings.windows import LONGEST

# Suffix of a damaged index that was set aside.
DAMAGED = ".damaged"


class Library:
    """See the module. Everything raises StoreUnavailable if the store can't be used."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def hour(self, camera: str, hour: dt.datetime) -> Hour | None:
        """Return the index of an hour; None if there is none. Raises Unreadable if it is damaged."""
        key = hour_key(camera, hour)
        try:
            return records.decode(await self.store.read(key), Hour)
        except Missing:
            return None
        except Unreadable as e:
            raise Unreadable(f"{key} is no index of recordings: {e}") from e

    async def hour_for_update(self, camera: str, hour: dt.datetime) -> Hour | None:
        """Return the same for updating it. A damaged index is set aside, so that recording goes on.

        Its files stay until the whole hour expires.
        """
        try:
            return await self.hour(camera, hour)
        except Unreadable:
            key = hour_key(camera, hour)
            await self.store.copy(key, f"{key}{DAMAGED}")
            empty = Hour(camera=camera, hour=hour)
            await self.write_hour(empty)
            return empty

    async def close(self, hour: Hour) -> None:
        """Merge this into an hour's index, and update the catalogue."""
        whole = merge_hours(await self.hour_for_update(hour.camera, hour.hour), hour)
        await self.write_hour(whole)
        await self.write_catalogue((await self.catalogue(hour.camera)).having(HourTotals.of(whole)))

    async def write_hour(self, hour: Hour) -> None:
        """Replace an hour's index."""
        await self.store.put(hour_key(hour.camera, hour.hour), [records.encode(hour)])

    async def catalogue(self, camera: str) -> Catalogue:
        """Return a camera's catalogue. A missing or damaged one is rebuilt from the indexes."""
        try:
            return records.decode(await self.store.read(catalogue_key(camera)), Catalogue)
        except (Missing, Unreadable):
            found = Catalogue(camera=camera)
        for entry in await self.store.list_objects(camera):
            if entry.key.endswith(INDEX):
                with contextlib.suppress(Missing, Unreadable):
                    found = found.having(HourTotals.of(records.decode(await self.store.read(entry.key), Hour)))
        return found

    async def write_catalogue(self, catalogue: Catalogue) -> None:
        await self.store.put(catalogue_key(catalogue.camera), [records.encode(catalogue)])

    async def between(
        self, camera: str, since: dt.datetime, until: dt.datetime, running: Hour | None
    ) -> tuple[list[Recorded], list[Hole]]:
        """Return the files that overlap [since, until), and the holes in it, by time."""
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
