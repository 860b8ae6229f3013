"""A stretch of time in the index: one table of LanceDB, filled until it is full and then left alone.

Rows come nearly in the order of time, and go by age. So a query reads only the tables whose time it asks for, and old
rows go by dropping a table. The work that keeps queries fast is done on the table that is being filled alone, and so is
bounded however large the index is. (One growing table of a million vectors was measured to hold up its readers for ten
seconds while it was put in order.)
"""

from __future__ import annotations

import datetime as dt
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
from lancedb.index import Bitmap, BTree, IvfRq
from lancedb.query import ColumnOrdering

from shared.models.vectors import Vectors


class ChunkTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that keep queries fast while rows come. bench/bench_search.py measures what they do."""

    exact: int = 10_000
    """Up to this many rows are compared one by one, exactly: that takes as long as the index takes for all of a
    chunk."""

    fresh: int = 20_000
    """Up to this many rows may be outside the vectors' index: they too are compared one by one."""

    most_files: int = 100
    """Files are joined once there are this many: every write makes one."""

    most_parts: int = 8
    """The vectors' index is made anew once it has this many parts: every joining of files makes one."""

    partitions: int = 1000
    """Every partition of the index is visited. Where a filter goes by camera, whose scenes lie together, visiting the
    nearest partitions alone was measured to lose most of what was asked for."""

    refined: int = 4
    """Exact distances are taken for this many times the rows asked for. With codes of 4 bits a dimension that was
    measured to find 99 in 100 of what exact search finds."""

    most_labels: int = 20_000
    """So many labels are known by the words of a text. The largest vocabulary of a detector has some thousands."""

    most_pairs: int = 500_000
    """Of so many pairs of a camera and a label it is known that the one saw the other."""

    kept_versions: dt.timedelta = dt.timedelta(seconds=30)
    """A version of the table is kept this long: a reader may have begun when it was current."""


TUNING = ChunkTuning()
_VECTOR_INDEX = "vector_idx"
_INDEX = IvfRq(distance_type="cosine", num_bits=4, target_partition_size=1_000_000, max_iterations=5, sample_rate=64)
_SCALARS: tuple[tuple[str, Any], ...] = (
    ("id", BTree()),
    ("time", BTree()),
    ("seq", BTree()),
    ("camera", Bitmap()),
    ("label", Bitmap()),
)


class Gone(Exception):
    """The chunk was dropped, as all in it was too old."""


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """What a row must be; a field that is empty excludes nothing. since, until: milliseconds since 1970.

    seqs: sequences of segments in MEDIA. runs: of `tidegate reanalyze`.
    """

    cameras: Sequence[str] = ()
    since: int | None = None
    until: int | None = None
    labels: Sequence[str] = ()
    runs: Sequence[str] = ()
    min_score: float | None = None
    seqs: Sequence[int] = ()
    ids: Sequence[str] = ()


class Chunk:
    """See the module. oldest, newest: times of its rows, milliseconds since 1970. labels: of its rows. labels_of: the
    same of each camera. columns: of the table.

    One thread writes, another may tidy meanwhile, and any may read.
    """

    def __init__(self, name: str, table: Any) -> None:
        self.name = name
        self.oldest, self.newest = 2**63, -(2**63)
        self.labels: set[str] = set()
        self.labels_of: dict[str, frozenset[str]] = {}
        self._table = table
        # Lance lets two writers of one table run side by side, but the second one leaves files behind.
        self._writing = threading.Lock()
        self._deleted = False
        self._cameras: Counter[str] = Counter()
        self._count = 0
        self._pairs = 0
        self._gone = False
        self.columns = frozenset(table.schema.names)
        # Rows of an older version do not tell when they came: about then, if their camera's clock was right.
        self._came = "added" if "added" in self.columns else "time"
        self._indexed = "vector" in table.schema.names and _can_be_indexed(table.schema.field("vector").type.list_size)
        self._note(table.search().select(["time", "camera", "label"]).to_arrow())

    @staticmethod
    def create(db: Any, name: str, schema: Any) -> Chunk:
        """A new chunk, without rows."""
        table = db.create_table(name, schema=schema)
        for column, config in _SCALARS:
            table.create_index(column, config=config)
        return Chunk(name, table)

    @property
    def rows(self) -> int:
        return int(self._table.count_rows())

    def may_hold(self, where: Where) -> bool:
        """Whether any of its rows may be what is asked for."""
        if where.runs and "run" not in self.columns:
            return False
        return (where.until is None or self.oldest < where.until) and (
            where.since is None or self.newest >= where.since
        )

    def add(self, rows: Any) -> None:
        """Append an Arrow table. Raises Gone."""
        with self._writing:
            if self._gone:
                raise Gone(self.name)
            self._table.add(rows)
            self._note(rows)

    def give_up(self, time: int) -> bool:
        """Take no more rows, if all are from before `time`, milliseconds since 1970; whether that is so."""
        with self._writing:
            self._gone = self._gone or self.newest < time
            return self._gone

    def give_up_empty(self) -> bool:
        """Take no more rows, if there are none; whether that is so."""
        with self._writing:
            self._gone = self._gone or not self.rows
            return self._gone

    def nearest(self, vector: Vectors, where: Where, columns: Sequence[str], limit: int) -> Any:
        """Arrow table of the `limit` rows of the largest cosine, with their `_distance`, 1 - cosine; best first."""
        query = self._table.search(vector.astype(np.float16), vector_column_name="vector").distance_type("cosine")
        query = query.select([*self._known(columns), "_distance"]).limit(limit)
        if condition := _sql(where):
            query = query.where(condition, prefilter=True)
        if self._expected(where) <= TUNING.exact:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(TUNING.partitions).refine_factor(TUNING.refined)
        return query.to_arrow()

    def best(self, where: Where, columns: Sequence[str], limit: int) -> Any:
        """Arrow table of the `limit` rows of the best scores, the newest before others as good; best first."""
        order = [ColumnOrdering(column_name=name, ascending=False) for name in ("score", "time")]
        return self._scan(where, columns).order_by(order).limit(limit).to_arrow()

    def matching(self, where: Where, columns: Sequence[str], limit: int | None = None) -> Any:
        """Arrow table of the rows, or of `limit` of them."""
        query = self._scan(where, columns)
        return (query if limit is None else query.limit(limit)).to_arrow()

    def drop_before(self, time: int) -> int:
        """Forget the rows before `time`, milliseconds since 1970; how many they were."""
        dropped = self._drop(f"time < {time}")
        self.oldest = max(self.oldest, time)
        return dropped

    def came(self) -> np.ndarray[Any, Any]:
        """When each row was added, milliseconds since 1970."""
        return np.asarray(self._table.search().select([self._came]).to_arrow()[self._came], np.int64)

    def drop_that_came(self, until: int) -> int:
        """Forget the rows that were added until then; how many they were."""
        return self._drop(f"{self._came} <= {until}")

    def _drop(self, condition: str) -> int:
        with self._writing:
            before = self.rows
            self._table.delete(condition)
            self._deleted = True
            return before - self.rows

    def forget(self, ids: Sequence[str]) -> None:
        """Forget the rows with these ids."""
        with self._writing:
            if not self._gone:
                self._table.delete(_in("id", ids))
                self._deleted = True

    def tidy(self, *, full: bool, force: bool = False) -> None:
        """Join small files, index what is not indexed, free the space of what was deleted.

        full: no more rows will come. force: do so even where it is not worth it yet.
        """
        with self._writing:
            index = self._table.index_stats(_VECTOR_INDEX) if self._indexed else None
            files = self._table.stats()["fragment_stats"]["num_fragments"]
            unindexed = self.rows if index is None else index.num_unindexed_rows
            parts = 0 if index is None else index.num_indices
            if full:
                due = self._indexed and self.rows > TUNING.exact and (unindexed > 0 or parts != 1)
                untidy = files > 1
            else:
                due = self._indexed and (parts >= TUNING.most_parts or (parts == 0 and unindexed > TUNING.fresh))
                untidy = files >= TUNING.most_files or (parts > 0 and unindexed > TUNING.fresh)
            if force or untidy or self._deleted:
                self._optimize()
            if due:
                self._table.create_index("vector", config=_INDEX, replace=True)
                self._optimize()

    def _optimize(self) -> None:
        """Join files. Where there is an index of vectors, this adds a part of it for the new rows.

        Nobody else writes to this table. So a file that belongs to no known version is a failed write's, and is deleted
        at once.
        """
        self._table.optimize(cleanup_older_than=TUNING.kept_versions, delete_unverified=True)
        self._deleted = False

    def _scan(self, where: Where, columns: Sequence[str]) -> Any:
        query = self._table.search().select(self._known(columns))
        condition = _sql(where)
        return query.where(condition) if condition else query

    def _known(self, columns: Sequence[str]) -> list[str]:
        """Those that there are: a chunk of an older version lacks some."""
        return [column for column in columns if column in self.columns]

    def _expected(self, where: Where) -> float:
        """About how many rows are what is asked for: by the cameras' counts, and as if rows came evenly in time."""
        if where.seqs or where.ids:
            return len(where.seqs) + len(where.ids)
        if where.runs:
            # Nobody has counted them: they are compared one by one, so that none is missed.
            return 0.0
        count: float = sum(self._cameras[c] for c in where.cameras) if where.cameras else self._count
        span = max(1, self.newest - self.oldest)
        since = self.oldest if where.since is None else max(self.oldest, where.since)
        until = self.newest if where.until is None else min(self.newest, where.until)
        return count * max(0.0, (until - since) / span)

    def _note(self, rows: Any) -> None:
        if not rows.num_rows:
            return
        span = pc.min_max(rows["time"]).as_py()
        self.oldest, self.newest = min(self.oldest, span["min"]), max(self.newest, span["max"])
        counts = pc.value_counts(rows["camera"])
        for camera, count in zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True):
            self._cameras[camera] += count
        self._count += rows.num_rows
        # New sets are made, as readers may be reading the old ones.
        fresh = {label for label in pc.unique(rows["label"]).to_pylist() if label is not None} - self.labels
        self.labels = self.labels | set(sorted(fresh)[: max(0, TUNING.most_labels - len(self.labels))])
        self._note_pairs(rows)

    def _note_pairs(self, rows: Any) -> None:
        """Which camera saw which of the labels that are known."""
        found: dict[str, set[str]] = {}
        for pair in rows.select(["camera", "label"]).group_by(["camera", "label"]).aggregate([]).to_pylist():
            if pair["label"] in self.labels:
                found.setdefault(pair["camera"], set()).add(sys.intern(pair["label"]))
        for camera, labels in found.items():
            known = self.labels_of.get(camera, frozenset())
            new = sorted(labels - known)[: max(0, TUNING.most_pairs - self._pairs)]
            if new:
                self._pairs += len(new)
                self.labels_of[camera] = known.union(new)


def _can_be_indexed(dimension: int) -> bool:
    """Whether IVF_RQ takes vectors of so many numbers. Those of other models are compared one by one, all of them."""
    return dimension % 8 == 0


def _sql(where: Where) -> str:
    parts = [
        _in("camera", where.cameras),
        _in("label", where.labels),
        _in("run", where.runs),
        _in("seq", where.seqs),
        _in("id", where.ids),
        f"time >= {where.since}" if where.since is not None else "",
        f"time < {where.until}" if where.until is not None else "",
        f"score >= {where.min_score}" if where.min_score is not None else "",
    ]
    return " AND ".join(p for p in parts if p)


def _in(column: str, values: Sequence[object]) -> str:
    literals = (str(v) if isinstance(v, int) else "'" + str(v).replace("'", "''") + "'" for v in values)
    return f"{column} IN ({', '.join(literals)})" if values else ""
