"""The tables of the index: LanceDB, in a folder of this machine or, by the same code, in an object store.

Each table is a chunk of one kind: `labels`, `revised.0`, or `vectors.<model>.<dimension>`. One process has the index,
and locks its folder.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa

from services.search import chunk, lost
from services.search.chunk import Chunk
from shared.runtime import lock
from shared.runtime.telemetry import logger

_TRIED = "tried"
_MB = 1024 * 1024
# Share of the cache for LanceDB's file metadata. Each write adds to it, and only current metadata is reused: for
# 600,000 rows of each kind more than 4 MB did not help.
_OF_FILES = 1 / 16


class Tables:
    """See the module. where: a folder, created if missing, or a URL that LanceDB knows. Raises SettingError.

    cache_mb: most megabytes that LanceDB caches in memory. origin: the argument of `begin`; empty before that, or if a
    table has been lost since. tidying: locked while chunks are tidied or removed.
    """

    def __init__(self, where: str, cache_mb: int) -> None:
        self._where = where
        # Two processes that tidy would delete each other's files.
        taken = f"another search process has the index in {where}: run one, or give this one its own SEARCH_INDEX"
        self._lock = None if "://" in where else lock.acquire(Path(where) / ".lock", taken)
        if "://" not in where:
            # As fast on a disk as LanceDB's eight, whose blocking threads it never releases: 40 of them, and 15 MB.
            os.environ.setdefault("LANCE_IO_THREADS", "4")
        of_files = int(cache_mb * _MB * _OF_FILES)
        # LanceDB's own session caches up to 7 GB, also of files and indexes that tidying has long replaced.
        self._session = lancedb.Session(cache_mb * _MB - of_files, of_files)
        self._db = lancedb.connect(where, session=self._session)
        self.origin = ""
        self.tidying = threading.Lock()
        # By kind, the oldest first.
        self._chunks: dict[str, list[Chunk]] = {}
        self._listing = threading.Lock()  # locked while a chunk is added to a list of chunks, or removed
        names = sorted(self._names())
        if _TRIED in names:  # left by a process that was killed during `try_out`
            self._db.drop_table(_TRIED)
        for name in names:
            if name != _TRIED:
                self._read(name)

    def _read(self, name: str) -> None:
        """Open a table. A damaged one is set aside, and the index has no beginning afterwards.

        LanceDB may raise any error for it.
        """
        try:
            table = self._db.open_table(name)
            if name == lost.ABOUT:
                self.origin = str(table.to_arrow()["origin"][0])
            else:
                self._chunks.setdefault(_kind(name), []).append(Chunk(name, table))
        except Exception as e:
            if lost.may_pass(e):
                raise
            # First the beginning: after a kill between the two steps the loss must still show.
            self.origin = ""
            if lost.ABOUT in self._names():
                self._db.drop_table(lost.ABOUT)
            aside = str(lost.set_aside(self._where, name, e)) if name != lost.ABOUT else ""
            logger("search").error("a table of the index can't be read, and is set aside", to=aside, error=repr(e))

    def close(self) -> None:
        """Let another process have the index."""
        if self._lock:
            self._lock.close()

    def try_out(self, size: int) -> None:
        """Write `size` bytes and delete them. Raises what writing raises."""
        self._db.create_table(_TRIED, pa.table({"bytes": [os.urandom(size)]}), mode="overwrite")
        self._db.drop_table(_TRIED)

    def begin(self, origin: str) -> None:
        """Remember which consumer the rows to come are made from."""
        self._db.create_table(lost.ABOUT, pa.table({"origin": [origin]}), mode="overwrite")
        self.origin = origin

    def clear(self) -> None:
        """Delete every row."""
        with self.tidying:
            self._chunks, self.origin = {}, ""
            for name in self._names():
                self._db.drop_table(name)

    def kinds(self) -> list[str]:
        """Return the kinds that have, or had, chunks."""
        return list(self._chunks)

    def chunks(self, kind: str) -> list[Chunk]:
        """Return the chunks of a kind, the oldest first."""
        return list(self._chunks.get(kind, []))

    def all(self) -> list[Chunk]:
        """Return the chunks of all kinds."""
        return [chunk for kind in self.kinds() for chunk in self.chunks(kind)]

    def chunk_to_fill(self, kind: str, schema: Any, size: int) -> Chunk:
        """Return the chunk to add to, a new one if the last has `size` rows, or is of a version with fewer columns."""
        with self._listing:
            chunks = self._chunks.setdefault(kind, [])
            if not chunks or chunks[-1].rows >= size or not chunks[-1].columns.issuperset(schema.names):
                number = int(chunks[-1].name.rpartition(".")[2]) + 1 if chunks else 0
                # Leading zeros make the names sort in chunk order.
                chunks.append(chunk.create(self._db, f"{kind}.{number:08}", schema))
            return chunks[-1]

    def remove(self, chunk: Chunk) -> None:
        """Delete a chunk."""
        with self._listing:
            self._chunks[_kind(chunk.name)].remove(chunk)
            self._db.drop_table(chunk.name)

    def count(self) -> int:
        """Return the number of rows of every kind."""
        return sum(chunk.rows for chunk in self.all())

    def size(self) -> int:
        """Return the bytes of the folder; 0 for an index in an object store, which has metrics of its own."""
        if "://" in self._where:
            return 0
        sizes = 0
        for folder, folders, files in os.walk(self._where):
            folders[:] = [f for f in folders if f != lost.ASIDE]
            for name in files:
                try:
                    sizes += (Path(folder) / name).stat().st_size
                except FileNotFoundError:  # tidied away meanwhile
                    pass
        return sizes

    def cached(self) -> int:
        """Return the bytes cached in memory."""
        return self._session.size_bytes

    def _names(self) -> list[str]:
        return list(self._db.list_tables(limit=100_000).tables)


def _kind(name: str) -> str:
    """Return the kind of a chunk."""
    return name.rpartition(".")[0]
