"""A stretch of time in the index: one table of LanceDB, which is filled once and then left alone.

Rows come nearly in time order, and expire by age. So a query reads only the tables of its time range, and old rows are
removed by dropping a table. Only the table that is being filled is optimized, so that this work is bounded however
large the index is. (One growing table of a million vectors delayed its readers for ten seconds while it was optimized.)
"""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
from lancedb.index import Bitmap, BTree, IvfRq
from lancedb.query import ColumnOrdering

from services.search.rows import Where, in_, sql
from shared.models.vectors import Vectors

# Every partition of the index is visited. With a camera filter, whose scenes lie close together, the nearest partitions
# alone lost most of the matching rows when measured.
VISITED_PARTITIONS = 1000
# Exact distances are computed for this many times the requested rows. With codes of 4 bits a dimension this was
# measured to find 99 in 100 of the rows of an exact search.
REFINE_FACTOR = 4
# The most (camera, label) pairs that are tracked.
MAX_PAIRS = 500_000


class ChunkTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that keep queries fast while rows come. bench/bench_search.py measures their effect."""

    exact: int = 10_000
    """Up to this many rows are compared exactly, one by one: that takes as long as an index lookup over all of a
    chunk."""

    fresh: int = 20_000
    """Up to this many rows may be outside the vectors' index: they are also compared one by one."""

    most_files: int = 100
    """Files are compacted once there are this many: every write makes one."""

    most_parts: int = 8
    """The vectors' index is rebuilt once it has this many parts: every compaction makes one."""

    most_labels: int = 20_000
    """The most labels that a text can name. The largest vocabulary of a detector has some thousands."""

    kept_versions: dt.timedelta = dt.timedelta(seconds=30)
    """A version of the table stays this long: a reader may have begun when it was current."""


TUNING = ChunkTuning()
_VECTOR_INDEX = "vector_idx"
_AGE = dt.timedelta(milliseconds=20)
_INDEX = IvfRq(distance_type="cosine", num_bits=4, target_partition_size=1_000_000, max_iterations=5, sample_rate=64)
_SCALARS: tuple[tuple[str, Any], ...] = (
    ("id", BTree()),
    ("time", BTree()),
    ("seq", BTree()),
    ("camera", Bitmap()),
    ("label", Bitmap()),
)


_BEST_FIRST = [ColumnOrdering(column_name=name, ascending=False) for name in ("score", "time")]


class ChunkDropped(Exception):
    """The chunk was dropped, as all its rows were too old."""


class Summary:
    """What is known of a chunk's rows without reading them: their number, times, cameras and labels.

    oldest, newest: milliseconds since 1970. labels_of: the labels of each camera.
    """

    def __init__(self) -> None:
        self.oldest, self.newest = 2**63, -(2**63)
        self.labels: set[str] = set()
        self.labels_of: dict[str, frozenset[str]] = {}
        self._cameras: Counter[str] = Counter()
        self._count = 0
        self._pairs = 0

    def may_match(self, where: Where) -> bool:
        """Whether any row may match."""
        return (where.until is None or self.oldest < where.until) and (
            where.since is None or self.newest >= where.since
        )

    def expected(self, where: Where) -> float:
        """Estimate the number of matching rows from the cameras' counts, as if rows came evenly in time."""
        if where.seqs or where.ids:
            return len(where.seqs) + len(where.ids)
        if where.runs:
            # A run's rows are not counted: they are compared one by one, so that none is missed.
            return 0.0
        count: float = sum(self._cameras[c] for c in where.cameras) if where.cameras else self._count
        span = max(1, self.newest - self.oldest)
        since = self.oldest if where.since is None else max(self.oldest, where.since)
        until = self.newest if where.until is None else min(self.newest, where.until)
        return count * max(0.0, (until - since) / span)

    def record(self, rows: Any) -> None:
        """Add new rows."""
        if not rows.num_rows:
            return
        span = pc.min_max(rows["time"]).as_py()
        self.oldest, self.newest = min(self.oldest, span["min"]), max(self.newest, span["max"])
        counts = pc.value_counts(rows["camera"])
        for camera, count in zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True):
            self._cameras[camera] += count
        self._count += rows.num_rows
        # New sets replace the old ones, as readers may be using those.
        fresh = {label for label in pc.unique(rows["label"]).to_pylist() if label is not None} - self.labels
        self.labels = self.labels | set(sorted(fresh)[: max(0, TUNING.most_labels - len(self.labels))])
        self._record_pairs(rows)

    def _record_pairs(self, rows: Any) -> None:
        """Record which camera saw which of the known labels."""
        found: dict[str, set[str]] = {}
        for pair in rows.select(["camera", "label"]).group_by(["camera", "label"]).aggregate([]).to_pylist():
            if pair["label"] in self.labels:
                found.setdefault(pair["camera"], set()).add(sys.intern(pair["label"]))
        for camera, labels in found.items():
            current = self.labels_of.get(camera, frozenset())
            new = sorted(labels - current)[: max(0, MAX_PAIRS - self._pairs)]
            if new:
                self._pairs += len(new)
                self.labels_of[camera] = current.union(new)


class Chunk:
    """See the module. columns: of the table. is_closed: it accepts no more rows.

    One thread writes, another may tidy meanwhile, and any may read.
    """

    def __init__(self, name: str, table: Any) -> None:
        self.name = name
        self.summary = Summary()
        self.is_closed = False
        self._table = table
        # Lance permits two concurrent writers of one table, but the second one leaves files behind.
        self._writing = threading.Lock()
        self._deleted = False
        self.columns = frozenset(table.schema.names)
        # Rows of an older version lack the time of adding: it is close to `time`, if their camera's clock was right.
        self._added_column = "added" if "added" in self.columns else "time"
        self._indexed = "vector" in table.schema.names and _can_be_indexed(table.schema.field("vector").type.list_size)
        self.summary.record(table.search().select(["time", "camera", "label"]).to_arrow())

    @property
    def rows(self) -> int:
        return int(self._table.count_rows())

    def may_match(self, where: Where) -> bool:
        """Whether any of its rows may match."""
        return (not where.runs or "run" in self.columns) and self.summary.may_match(where)

    def add(self, rows: Any) -> None:
        """Append an Arrow table. Raises ChunkDropped."""
        with self._writing:
            if self.is_closed:
                raise ChunkDropped(self.name)
            self._table.add(rows)
            self.summary.record(rows)

    def nearest(self, vector: Vectors, where: Where, columns: Sequence[str], limit: int) -> Any:
        """Return an Arrow table of the `limit` rows of the largest cosine, with `_distance`, 1 - cosine; best first."""
        query = self._table.search(vector.astype(np.float16), vector_column_name="vector").distance_type("cosine")
        query = query.select([*self._available(columns), "_distance"]).limit(limit)
        if condition := sql(where):
            query = query.where(condition, prefilter=True)
        if self.summary.expected(where) <= TUNING.exact:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(VISITED_PARTITIONS).refine_factor(REFINE_FACTOR)
        return query.to_arrow()

    def matching(
        self, where: Where, columns: Sequence[str], limit: int | None = None, *, best_first: bool = False
    ) -> Any:
        """Return an Arrow table of the matching rows, or of `limit` of them.

        best_first: those of the best scores first; of equal scores the newest first.
        """
        query = self._table.search().select(self._available(columns))
        if condition := sql(where):
            query = query.where(condition)
        if best_first:
            query = query.order_by(_BEST_FIRST)
        return (query if limit is None else query.limit(limit)).to_arrow()

    def drop_before(self, time: int) -> int:
        """Delete the rows before `time`, milliseconds since 1970; return how many there were.

        If these are all rows, the chunk is closed, and the caller drops the table.
        """
        with self._writing:
            self.is_closed = self.is_closed or self.summary.newest < time
            if self.is_closed:
                return self.rows
            if self.summary.oldest >= time:
                return 0
            dropped = self._drop(f"time < {time}")
            self.summary.oldest = max(self.summary.oldest, time)
            return dropped

    def added_times(self) -> np.ndarray[Any, Any]:
        """Return when each row was added, milliseconds since 1970."""
        return np.asarray(self._table.search().select([self._added_column]).to_arrow()[self._added_column], np.int64)

    def drop_added_until(self, until: int) -> int:
        """Delete the rows that were added until then; return how many there were. An empty chunk is closed."""
        with self._writing:
            dropped = self._drop(f"{self._added_column} <= {until}")
            self.is_closed = self.is_closed or not self.rows
            return dropped

    def _drop(self, condition: str) -> int:
        before = self.rows
        self._table.delete(condition)
        self._deleted = True
        return before - self.rows

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the rows with these ids."""
        with self._writing:
            if not self.is_closed:
                self._table.delete(in_("id", ids))
                self._deleted = True

    def count(self, condition: str) -> int:
        """Return the number of rows that match a condition in SQL."""
        return int(self._table.count_rows(condition))

    def erase(self, condition: str) -> None:
        """Delete the rows that match a condition in SQL, and every byte of them in the table's files.

        All other rows are written again, as compaction leaves a file alone of which few rows are deleted. The indexes
        are built again, as they hold values of deleted rows. Readers of an older version may fail, and read again.
        """
        with self._writing:
            if self.is_closed:
                return
            self._table.delete(condition)
            self._table.update(where="true", values_sql={"camera": "camera"})
            for column, config in _SCALARS:
                self._table.create_index(column, config=config, replace=True)
            if self._indexed and self._table.index_stats(_VECTOR_INDEX) is not None:
                if self.rows > TUNING.exact:
                    self._table.create_index("vector", config=_INDEX, replace=True)
                else:
                    self._table.drop_index(_VECTOR_INDEX)
            self._table.optimize()
            # Versions are removed by their age: the last one must be older than this.
            time.sleep(_AGE.total_seconds())
            self._table.optimize(cleanup_older_than=_AGE / 2, delete_unverified=True)
            self._deleted = False
            summary = Summary()
            summary.record(self._table.search().select(["time", "camera", "label"]).to_arrow())
            self.summary = summary

    def tidy(self, *, full: bool, force: bool = False) -> None:
        """Compact small files, index unindexed rows, and free the space of deleted ones.

        full: no more rows will come. force: do so even if it is not worth it yet.
        """
        with self._writing:
            index = self._table.index_stats(_VECTOR_INDEX) if self._indexed else None
            files = self._table.stats()["fragment_stats"]["num_fragments"]
            unindexed = self.rows if index is None else index.num_unindexed_rows
            parts = 0 if index is None else index.num_indices
            if full:
                needs_index = self._indexed and self.rows > TUNING.exact and (unindexed > 0 or parts != 1)
                needs_compaction = files > 1
            else:
                needs_index = self._indexed and (
                    parts >= TUNING.most_parts or (parts == 0 and unindexed > TUNING.fresh)
                )
                needs_compaction = files >= TUNING.most_files or (parts > 0 and unindexed > TUNING.fresh)
            if force or needs_compaction or self._deleted:
                self._optimize()
            if needs_index:
                self._table.create_index("vector", config=_INDEX, replace=True)
                self._optimize()

    def _optimize(self) -> None:
        """Compact files. This also adds the new rows to an index of vectors, as a part, if there is one.

        Nothing else writes to this table. So a file of no known version is left from a failed write, and is deleted
        immediately.
        """
        self._table.optimize(cleanup_older_than=TUNING.kept_versions, delete_unverified=True)
        self._deleted = False

    def _available(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that exist: a chunk of an older version lacks some."""
        return [column for column in columns if column in self.columns]


def create(db: Any, name: str, schema: Any) -> Chunk:
    """Create a chunk, without rows."""
    table = db.create_table(name, schema=schema)
    for column, config in _SCALARS:
        table.create_index(column, config=config)
    return Chunk(name, table)


def _can_be_indexed(dimension: int) -> bool:
    """Whether IVF_RQ accepts vectors of this dimension. Vectors of other models are all compared one by one."""
    return dimension % 8 == 0
