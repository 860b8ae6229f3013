"""The index: rows into chunks, and hits out of them.

    index = Index("/var/lib/tidegate/index")     # or s3://bucket/prefix
    index.add(vectors, labels)                   # durable and searchable when it returns
    index.similar(model, vector, Where(), 10)

Rows lie in chunks of time. Each model has chunks of its own, so that vectors of two models are never compared. Labels,
and marks of revisions, have their own, too. Rows are identified by their id: adding one twice stores it once. One
thread writes, another may tidy meanwhile, and any may read.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from services.search.chunk import Chunk, ChunkDropped
from services.search.rows import Hit, LabelRow, Row, VectorRow, Where
from services.search.settings import CACHE_MB
from services.search.tables import Tables
from shared.models.vectors import Vectors

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


class Index:
    """See the module. vectors, labels: rows of a chunk. The others as in `Tables`. Raises SettingError."""

    def __init__(self, where: str, *, cache_mb: int = CACHE_MB, vectors: int = VECTORS, labels: int = LABELS) -> None:
        self.tables = Tables(where, cache_mb)
        self._sizes = {True: vectors, False: labels}
        self._readers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="read")
        added_times = [chunk.added_times() for chunk in self.tables.all()]
        self._added = max((int(times.max()) for times in added_times if times.size), default=0)

    def close(self) -> None:
        """Let another process have the index."""
        self._readers.shutdown()
        self.tables.close()

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
        for kind in self.tables.kinds():
            prefixes = tuple(tables.get(kind.partition(".")[0], ()))
            for chunk in [c for c in self.tables.chunks(kind) if prefixes and c.may_match(where)]:
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
        for chunk in self.tables.chunks(kind):
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
            size = self._sizes[dimension is not None]
            try:
                self.tables.chunk_to_fill(kind, data.schema, size).add(data)
            except ChunkDropped:  # its rows have just grown too old
                self.tables.chunk_to_fill(kind, data.schema, size).add(data)

    def models(self) -> set[tuple[str, int]]:
        """Return (model, dimension) of all vectors."""
        kinds = [kind for kind in self.tables.kinds() if kind.startswith(_VECTORS) and self.tables.chunks(kind)]
        parts = [kind.removeprefix(_VECTORS).rpartition(".") for kind in kinds]
        return {(model, int(dimension)) for model, _, dimension in parts}

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
        found = self._each(_LABELS, where, lambda chunk: chunk.matching(where, _NAMES, limit, best_first=True))
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
        for kind in [k for k in self.tables.kinds() if k.startswith(_VECTORS)]:
            for row in self._each(kind, where, lambda chunk: chunk.matching(where, ["vector"])):
                return kind.removeprefix(_VECTORS).rpartition(".")[0], np.asarray(row["vector"], np.float32)
        return None

    def known_labels(self, cameras: Sequence[str] = ()) -> frozenset[str]:
        """Return every label that was seen. cameras: at these; empty: at any."""
        summaries = [chunk.summary for chunk in self.tables.chunks(_LABELS)]
        if not cameras:
            return frozenset().union(*(summary.labels for summary in summaries))
        return frozenset().union(*(summary.labels_of.get(camera, ()) for summary in summaries for camera in cameras))

    def _each(self, kind: str, where: Where, look: Callable[[Chunk], Any]) -> list[dict[str, Any]]:
        """Return the rows that `look` finds, in every chunk that may have any."""

        def rows(chunk: Chunk) -> list[dict[str, Any]]:
            try:
                return list(look(chunk).to_pylist())
            except Exception:
                if chunk not in self.tables.chunks(kind):  # dropped meanwhile, as too old
                    return []
                # An erasure has removed the files of the version that was read.
                return list(look(chunk).to_pylist())

        chunks = [c for c in self.tables.chunks(kind) if c.may_match(where)]
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
