"""The index: LanceDB, in a folder of this machine or, by the same code, in an object store.

    index = Index("/var/lib/tidegate/index")     # or s3://bucket/prefix
    index.add(vectors, labels)                   # durable and searchable when it returns
    index.similar(model, vector, Where(), 10)

Rows lie in chunks of time. Each model has chunks of its own, so that vectors of two models are never compared. Labels,
and marks of revisions, have their own, too. Rows are identified by their id: adding one twice stores it once. One
process has the index, and locks its folder. One thread of it writes, another may tidy meanwhile, and any may read.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lancedb
import msgspec
import numpy as np
import pyarrow as pa

from services.search import lost
from services.search.chunk import Chunk, ChunkDropped, Where
from services.search.rows import Hit, LabelRow, Row, VectorRow
from services.search.settings import CACHE_MB
from shared.models.vectors import Vectors
from shared.runtime import lock
from shared.runtime.telemetry import logger

# Rows of a chunk. Measured with a million vectors on two cores: in chunks of half the size a query takes 8 ms longer
# for each additional chunk; in one chunk a single core does all the work.
VECTORS = 500_000
LABELS = 1_000_000

_COLUMNS: list[Any] = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("camera", pa.string(), nullable=False),
    pa.field("start", pa.int64(), nullable=False),
    pa.field("end", pa.int64(), nullable=False),
    pa.field("time", pa.int64(), nullable=False),
    pa.field("seq", pa.int64(), nullable=False),
    pa.field("label", pa.string()),
    pa.field("score", pa.float32()),
    pa.field("box", pa.list_(pa.float32(), 4)),
    pa.field("run", pa.string()),
]
_NAMES = [field.name for field in _COLUMNS]
# When a row was added, by our clock, made monotonic: the first row added is dropped first, whatever its date.
_ADDED = pa.field("added", pa.int64())
_LABELS = "labels"
# The previous version parses the part after the last dot as a dimension, and so accepts such an index.
_REVISED = "revised.0"
_VECTORS = "vectors."
# No segment is longer than this, in milliseconds.
_NEAR = 120_000
_TRIED = "tried"
_MB = 1024 * 1024
# Share of the cache for LanceDB's file metadata. Each write adds to it, and only current metadata is reused: for
# 600,000 rows of each kind more than 4 MB did not help.
_OF_FILES = 1 / 16


class Index:
    """See the module. where: a folder, created if missing, or a URL that LanceDB knows. Raises SettingError.

    cache_mb: most megabytes that LanceDB caches in memory.
    """

    def __init__(self, where: str, *, cache_mb: int = CACHE_MB, vectors: int = VECTORS, labels: int = LABELS) -> None:
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
        self._sizes = {True: vectors, False: labels}
        self._tidying = threading.Lock()
        self._readers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="read")
        self._origin = ""
        # The chunks by kind, `labels`, `revised.0` or `vectors.<model>.<dimension>`, the oldest first.
        self._chunks: dict[str, list[Chunk]] = {}
        self._listing = threading.Lock()  # locked while a chunk is added to a list of chunks, or removed
        self._open_all()
        self._added = max(
            (int(added_times.max()) for c in self._all() if (added_times := c.added_times()).size), default=0
        )

    def _open_all(self) -> None:
        """Open every readable table. If one is unreadable, the index has no beginning afterwards."""
        names = sorted(self._names())
        if _TRIED in names:  # left by a process that was killed during `try_out`
            self._db.drop_table(_TRIED)
        for name in names:
            if name != _TRIED:
                self._read(name)

    def _read(self, name: str) -> None:
        """Open a table. A damaged one is set aside; LanceDB may raise any error for it."""
        try:
            table = self._db.open_table(name)
            if name == lost.ABOUT:
                self._origin = str(table.to_arrow()["origin"][0])
            else:
                self._chunks.setdefault(name.rpartition(".")[0], []).append(Chunk(name, table))
        except Exception as e:
            if lost.may_pass(e):
                raise
            # First the beginning: after a kill between the two steps the loss must still show.
            self._forget_beginning()
            aside = str(lost.set_aside(self._where, name, e)) if name != lost.ABOUT else ""
            logger("search").error("a table of the index can't be read, and is set aside", to=aside, error=repr(e))

    def _forget_beginning(self) -> None:
        self._origin = ""
        if lost.ABOUT in self._names():
            self._db.drop_table(lost.ABOUT)

    def close(self) -> None:
        """Let another process have the index."""
        self._readers.shutdown()
        if self._lock:
            self._lock.close()

    # ---- which consumer it was made from

    @property
    def origin(self) -> str:
        """The argument of `begin`; empty before that, or if a table has been lost since."""
        return self._origin

    def try_out(self, size: int) -> None:
        """Write `size` bytes and delete them. Raises what writing raises."""
        self._db.create_table(_TRIED, pa.table({"bytes": [os.urandom(size)]}), mode="overwrite")
        self._db.drop_table(_TRIED)

    def begin(self, origin: str) -> None:
        """Remember which consumer the rows to come are made from."""
        self._db.create_table(lost.ABOUT, pa.table({"origin": [origin]}), mode="overwrite")
        self._origin = origin

    def clear(self) -> None:
        """Delete every row."""
        with self._tidying:
            self._chunks, self._origin = {}, ""
            for name in self._names():
                self._db.drop_table(name)

    # ---- writing

    def add(self, vectors: Sequence[VectorRow], labels: Sequence[LabelRow]) -> None:
        """Add rows that are not there yet."""
        of_model: dict[tuple[str, int], list[VectorRow]] = {}
        for row in vectors:
            of_model.setdefault((row.model, row.dimension), []).append(row)
        for (model, dimension), rows in of_model.items():
            self._add(_kind(model, dimension), rows, dimension)
        if labels:
            self._add(_LABELS, labels, None)

    def revised_keys(self, firsts: Sequence[str]) -> set[str]:
        """Return those of these keys of first events whose rows were replaced."""
        where = Where(ids=firsts)
        return {row["id"] for row in self._each(_REVISED, where, lambda chunk: chunk.matching(where, ["id"]))}

    def replace(self, marks: Sequence[Row]) -> None:
        """Delete the rows of the events that these marks name, and store the marks.

        Call it after `add`: if a process is killed in between, the event comes again.
        """
        if not marks:
            return
        tables: dict[str, list[str]] = {}
        for mark in marks:
            table, _, event_id = mark.id.partition("/")
            tables.setdefault(table, []).append(f"{event_id}#")
        where = Where(
            seqs=sorted({mark.seq for mark in marks}),
            since=min(mark.start for mark in marks) - _NEAR,
            until=max(mark.end for mark in marks) + _NEAR,
        )
        for kind in list(self._chunks):
            prefixes = tuple(tables.get(kind.partition(".")[0], ()))
            for chunk in [c for c in list(self._chunks[kind]) if prefixes and c.may_match(where)]:
                found = chunk.matching(where, ["id"])["id"].to_pylist()
                if ids := [id for id in found if id.startswith(prefixes)]:
                    chunk.forget(ids)
        self._add(_REVISED, marks, None)

    def _add(self, kind: str, rows: Sequence[Row], dimension: int | None) -> None:
        of: dict[str, str | None] = {}
        if dimension is not None:
            # If live and a run produce the same event, the vectors that come first win, here as below.
            rows = [row for row in rows if of.setdefault(_event_of(row.id), row.run) == row.run]
        fresh = {row.id: row for row in reversed(rows)}
        there: set[str] = set()
        span = Where(since=min(r.time for r in rows), until=max(r.time for r in rows) + 1, ids=list(fresh))
        for chunk in self._chunks.get(kind, []):
            if chunk.may_match(span):
                there |= set(chunk.matching(span, ["id"])["id"].to_pylist())
        if dimension is not None:
            # An event's vectors are stored all or none: an analysis of other frames has others under the same numbers.
            events = {_event_of(id) for id in there}
            there |= {id for id in fresh if _event_of(id) in events}
        fresh = {id: row for id, row in fresh.items() if id not in there}
        if fresh:
            self._added = max(self._added + 1, round(time.time() * 1000))
            data = _table(list(fresh.values()), dimension, self._added)
            try:
                self._open(kind, data.schema, self._sizes[dimension is not None]).add(data)
            except ChunkDropped:  # its rows have just grown too old
                self._open(kind, data.schema, self._sizes[dimension is not None]).add(data)

    def _open(self, kind: str, schema: Any, size: int) -> Chunk:
        """Return the chunk to add to, a new one if the last is full, or of a version with fewer columns."""
        with self._listing:
            chunks = self._chunks.setdefault(kind, [])
            if not chunks or chunks[-1].rows >= size or not chunks[-1].columns.issuperset(schema.names):
                number = int(chunks[-1].name.rpartition(".")[2]) + 1 if chunks else 0
                # Leading zeros make the names sort in chunk order.
                chunks.append(Chunk.create(self._db, f"{kind}.{number:08}", schema))
            return chunks[-1]

    def models(self) -> set[tuple[str, int]]:
        """Return (model, dimension) of all vectors."""
        kinds = [kind for kind, chunks in list(self._chunks.items()) if chunks and kind.startswith(_VECTORS)]
        parts = [kind.removeprefix(_VECTORS).rpartition(".") for kind in kinds]
        return {(model, int(dimension)) for model, _, dimension in parts}

    def drop_before(self, time: int) -> int:
        """Delete the rows of frames before `time`, milliseconds since 1970; return how many there were."""
        dropped = 0
        with self._tidying:
            for chunks in list(self._chunks.values()):
                for chunk in list(chunks):
                    if chunk.close_if_before(time):
                        dropped += chunk.rows
                        self._remove(chunks, chunk)
                    elif chunk.oldest < time:
                        dropped += chunk.drop_before(time)
        return dropped

    def drop_first(self, share: float) -> int:
        """Delete at least this share of the rows, above 0, the first added first; return how many there were."""
        with self._tidying:
            added_times = np.concatenate([np.empty(0, np.int64), *(chunk.added_times() for chunk in self._all())])
            if not added_times.size:
                return 0
            last = math.ceil(min(1.0, share) * added_times.size) - 1
            until = int(np.partition(added_times, last)[last])
            dropped = 0
            for chunks in list(self._chunks.values()):
                for chunk in list(chunks):
                    dropped += chunk.drop_added_until(until)
                    if chunk.close_if_empty():
                        self._remove(chunks, chunk)
            return dropped

    def _remove(self, chunks: list[Chunk], chunk: Chunk) -> None:
        with self._listing:
            chunks.remove(chunk)
            self._db.drop_table(chunk.name)

    def tidy(self, *, force: bool = False) -> None:
        """Keep queries fast, and free the bytes of deleted rows. force: do so even if it is not worth it yet.

        A chunk that can't be tidied does not affect the others. Raises the first error.
        """
        failed: list[Exception] = []
        with self._tidying:
            for chunks in list(self._chunks.values()):
                for chunk in list(chunks):
                    try:
                        chunk.tidy(full=chunk is not chunks[-1], force=force)
                    except Exception as e:
                        failed.append(e)
        if failed:
            raise failed[0]

    # ---- reading

    def similar(self, model: str, vector: Vectors, where: Where, limit: int) -> list[Hit]:
        """Return the `limit` rows of `model` whose vectors have the largest cosine with `vector`, best first.

        where.min_score: of the cosine.
        """
        kind = _kind(model, vector.size)
        of = msgspec.structs.replace(where, min_score=None)
        found = self._each(kind, of, lambda chunk: chunk.nearest(vector, of, _NAMES, limit))
        best = sorted(found, key=lambda row: row["_distance"])[:limit]
        hits = [_hit(row, 1 - row["_distance"], vector=True) for row in best]
        return [h for h in hits if where.min_score is None or h.score >= where.min_score]

    def labelled(self, where: Where, limit: int) -> list[Hit]:
        """Return the `limit` rows of `where.labels` with the best scores, best first; of equal scores newest first."""
        found = self._each(_LABELS, where, lambda chunk: chunk.best(where, _NAMES, limit))
        best = sorted(found, key=lambda row: (row["score"], row["time"]), reverse=True)[:limit]
        return [_hit(row, row["score"], vector=False) for row in best]

    def segments_with(self, where: Where, most: int) -> set[int] | None:
        """Return sequences of the segments with any of `where.labels`; None if these are more than `most`."""
        found = self._each(_LABELS, where, lambda chunk: chunk.matching(where, ["seq"], most + 1))
        seqs = {row["seq"] for row in found}
        return seqs if len(seqs) <= most else None

    def labels_of(self, hits: Iterable[tuple[int, dt.datetime]]) -> list[Hit]:
        """Return all label rows of some segments. hits: a sequence in MEDIA for each, and a time in it."""
        by_seq = {seq: round(time.timestamp() * 1000) for seq, time in hits}
        if not by_seq:
            return []
        where = Where(seqs=sorted(by_seq), since=min(by_seq.values()) - _NEAR, until=max(by_seq.values()) + _NEAR)
        found = self._each(_LABELS, where, lambda chunk: chunk.matching(where, _NAMES))
        return [_hit(row, row["score"], vector=False) for row in found]

    def vector(self, id: str, cameras: Sequence[str] = ()) -> tuple[str, Vectors] | None:
        """Return (model, vector) of the row with this id. cameras: it is of one of these; empty: of any."""
        where = Where(ids=[id], cameras=cameras)
        for kind in [k for k in list(self._chunks) if k.startswith(_VECTORS)]:
            for row in self._each(kind, where, lambda chunk: chunk.matching(where, ["vector"])):
                return kind.removeprefix(_VECTORS).rpartition(".")[0], np.asarray(row["vector"], np.float32)
        return None

    def known_labels(self, cameras: Sequence[str] = ()) -> frozenset[str]:
        """Return every label that was seen. cameras: at these; empty: at any."""
        chunks = list(self._chunks.get(_LABELS, []))
        if not cameras:
            return frozenset().union(*(chunk.labels for chunk in chunks))
        return frozenset().union(*(chunk.labels_of.get(camera, ()) for chunk in chunks for camera in cameras))

    def count(self) -> int:
        """Return the number of rows of every kind."""
        return sum(chunk.rows for chunk in self._all())

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

    def _all(self) -> list[Chunk]:
        return [chunk for chunks in list(self._chunks.values()) for chunk in list(chunks)]

    def _each(self, kind: str, where: Where, look: Callable[[Chunk], Any]) -> list[dict[str, Any]]:
        """Return the rows that `look` finds, in every chunk that may have any."""

        def rows(chunk: Chunk) -> list[dict[str, Any]]:
            try:
                return list(look(chunk).to_pylist())
            except Exception:
                if chunk not in self._chunks.get(kind, []):  # dropped meanwhile, as too old
                    return []
                raise

        chunks = [c for c in list(self._chunks.get(kind, [])) if c.may_match(where)]
        found = map(rows, chunks) if len(chunks) < 2 else self._readers.map(rows, chunks)
        return [row for of_chunk in found for row in of_chunk]


def _event_of(id: str) -> str:
    """Return the id of a row's event."""
    return id.rpartition("#")[0]


def _kind(model: str, dimension: int) -> str:
    return f"{_VECTORS}{model}.{dimension}"


def _table(rows: Sequence[Row], dimension: int | None, added: int) -> Any:
    columns = [pa.array([getattr(r, f.name) for r in rows], f.type) for f in _COLUMNS]
    columns.append(pa.array([added] * len(rows), _ADDED.type))
    fields = [*_COLUMNS, _ADDED]
    if dimension is not None:
        data = np.frombuffer(b"".join(r.vector for r in rows if isinstance(r, VectorRow)), "<f2")
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(data), dimension))
        fields.append(pa.field("vector", pa.list_(pa.float16(), dimension), nullable=False))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _hit(row: dict[str, Any], score: float, *, vector: bool) -> Hit:
    return Hit(
        camera=row["camera"],
        start=_time(row["start"]),
        end=_time(row["end"]),
        time=_time(row["time"]),
        seq=row["seq"],
        score=round(score, 4),
        id=row["id"] if vector else None,
        label=row["label"],
        box=None if row["box"] is None else tuple(round(v, 4) for v in row["box"]),
        run=row.get("run"),
    )


def _time(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
