"""The index: LanceDB, in a folder of this machine or, by the same code, in an object store.

    index = Index("/var/lib/tidegate/index")     # or s3://bucket/prefix
    index.add(vectors, labels)                   # on disk when it returns, and found from then on
    index.similar(model, vector, Where(), 10)

One table for each model, so that vectors of two are never compared, and one for labels. Rows are known by their id:
what is added twice is there once. One process writes, from one thread at a time; any thread reads.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lancedb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import BTree, IvfPq

from services.search.query import Hit
from services.search.rows import LabelRow, Row, VectorRow
from shared.vectors import Vectors

# Fewer vectors than this are compared one by one, exactly, in milliseconds.
EXACT = 50_000
# A reader may still be at a version that was current when it began.
KEPT_VERSIONS = dt.timedelta(seconds=60)

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
]
_NAMES = [field.name for field in _COLUMNS]
_VECTORS, _LABELS, _ABOUT = "vectors.", "labels", "about"


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """What a row must be. Empty: anything. since, until: milliseconds since 1970. seqs: of segments in MEDIA."""

    cameras: Sequence[str] = ()
    since: int | None = None
    until: int | None = None
    min_score: float | None = None
    seqs: Sequence[int] = ()


class Index:
    """See the module. where: a folder, made if it is not there, or a URL that LanceDB knows."""

    def __init__(self, where: str) -> None:
        self._where = where
        if "://" not in where:
            Path(where).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = lancedb.connect(where)
        self._tables: dict[str, Any] = {}
        for name in self._db.list_tables(limit=10_000).tables:
            self._tables[name] = self._db.open_table(name)
        self._known = self._distinct_labels()

    # ---- which consumer it was made from

    @property
    def origin(self) -> str:
        """What `begin` was given, or nothing."""
        table = self._tables.get(_ABOUT)
        return str(table.to_arrow()["origin"][0]) if table is not None else ""

    def begin(self, origin: str) -> None:
        """Remember what the rows to come are made from."""
        data = pa.table({"origin": [origin]})
        self._tables[_ABOUT] = self._db.create_table(_ABOUT, data, mode="overwrite")

    def clear(self) -> None:
        """Forget everything."""
        for name in list(self._tables):
            self._db.drop_table(name)
            del self._tables[name]
        self._known = set()

    # ---- writing

    def add(self, vectors: Sequence[VectorRow], labels: Sequence[LabelRow]) -> None:
        """Add rows that are not there yet."""
        of_model: dict[tuple[str, int], list[VectorRow]] = {}
        for row in {row.id: row for row in vectors}.values():
            of_model.setdefault((row.model, row.dimension), []).append(row)
        for (model, dimension), rows in of_model.items():
            data = np.frombuffer(b"".join(r.vector for r in rows), "<f2")
            column = pa.FixedSizeListArray.from_arrays(pa.array(data), dimension)
            field = pa.field("vector", pa.list_(pa.float16(), dimension), nullable=False)
            self._add(f"{_VECTORS}{model}.{dimension}", rows, [field], [column])
        if labels:
            self._add(_LABELS, list({row.id: row for row in labels}.values()), [], [])
            self._known |= {r.label for r in labels if r.label}

    def _add(self, name: str, rows: Sequence[Row], fields: list[Any], more: list[Any]) -> None:
        columns = [pa.array([getattr(r, f.name) for r in rows], f.type) for f in _COLUMNS]
        data = pa.Table.from_arrays([*columns, *more], schema=pa.schema([*_COLUMNS, *fields]))
        table = self._tables.get(name)
        if table is None:
            table = self._db.create_table(name, schema=data.schema)
            for column in ("id", "time", "seq"):
                table.create_index(column, config=BTree())
            self._tables[name] = table
        table.merge_insert("id").when_not_matched_insert_all().execute(data)

    def drop_before(self, time: int) -> int:
        """Forget rows of frames before `time`, milliseconds since 1970: how many. Their bytes go with `tidy`."""
        before = self.count()
        for name in self._content():
            self._tables[name].delete(f"time < {time}")
        return before - self.count()

    def tidy(self) -> None:
        """Join what many writes left in small files, index what is not indexed yet, give back what was deleted."""
        for name in self._content():
            table = self._tables[name]
            if name.startswith(_VECTORS) and not _is_indexed(table) and table.count_rows() >= EXACT:
                table.create_index("vector", config=IvfPq(distance_type="cosine"))
            table.optimize(cleanup_older_than=KEPT_VERSIONS)

    def span(self) -> tuple[int, int] | None:
        """Times of the oldest and the newest row, milliseconds since 1970."""
        times = [pc.min_max(found["time"]).as_py() for n in self._content() if (found := self._scan(n, ["time"], ""))]
        known = [t for t in times if t["min"] is not None]
        return (min(t["min"] for t in known), max(t["max"] for t in known)) if known else None

    def size(self) -> int:
        """Bytes of the folder; 0 where it is in an object store, which tells its own."""
        if "://" in self._where:
            return 0
        return sum(f.stat().st_size for f in Path(self._where).rglob("*") if f.is_file())

    # ---- reading

    def similar(self, model: str, vector: Vectors, where: Where, limit: int) -> list[Hit]:
        """The `limit` rows of `model` whose vectors have the largest cosine with `vector`, best first."""
        table = self._tables.get(f"{_VECTORS}{model}.{vector.size}")
        if table is None:
            return []
        query = (
            table.search(vector.astype(np.float16), vector_column_name="vector")
            .distance_type("cosine")
            .select([*_NAMES, "_distance"])
            .limit(limit)
        )
        if condition := _condition(where, score=None):
            query = query.where(condition, prefilter=True)
        found = query.to_arrow()
        similarity = [1 - d for d in found["_distance"].to_pylist()]
        hits = [_hit(r, s, vector=True) for r, s in zip(found.to_pylist(), similarity, strict=True)]
        return [h for h in hits if where.min_score is None or h.score >= where.min_score]

    def labelled(self, labels: Sequence[str], where: Where, limit: int) -> list[Hit]:
        """The `limit` rows of any of `labels` with the best scores, best first, the newest before others as good."""
        found = self._scan(_LABELS, _NAMES, _and(_in("label", labels), _condition(where, score="score")))
        if found is None:
            return []
        order = pc.sort_indices(found, sort_keys=[("score", "descending"), ("time", "descending")])[:limit]
        return [_hit(r, r["score"], vector=False) for r in found.take(order).to_pylist()]

    def segments_with(self, labels: Sequence[str], where: Where) -> set[int]:
        """Sequences of the segments in which any of `labels` was seen."""
        found = self._scan(_LABELS, ["seq"], _and(_in("label", labels), _condition(where, score=None)))
        return set() if found is None else set(found["seq"].to_pylist())

    def labels_of(self, seqs: Iterable[int]) -> list[Hit]:
        """All rows of labels of these segments."""
        condition = _in("seq", sorted(set(seqs)))
        found = self._scan(_LABELS, _NAMES, condition) if condition else None
        return [] if found is None else [_hit(r, r["score"], vector=False) for r in found.to_pylist()]

    def vector(self, id: str) -> tuple[str, Vectors] | None:
        """(model, vector) of the row with this id."""
        for name in self._models():
            found = self._scan(name, ["vector"], _in("id", [id]))
            if found is not None and found.num_rows:
                model = name.removeprefix(_VECTORS).rpartition(".")[0]
                return model, np.asarray(found["vector"][0].values, np.float32)
        return None

    def known_labels(self) -> frozenset[str]:
        """Every label that was seen."""
        return frozenset(self._known)

    def count(self) -> int:
        """Rows, of every kind."""
        return sum(self._tables[name].count_rows() for name in self._content())

    def _content(self) -> list[str]:
        return [name for name in list(self._tables) if name != _ABOUT]

    def _models(self) -> list[str]:
        return [name for name in list(self._tables) if name.startswith(_VECTORS)]

    def _scan(self, name: str, columns: list[str], condition: str) -> Any:
        table = self._tables.get(name)
        if table is None:
            return None
        query = table.search().select(columns)
        return (query.where(condition) if condition else query).to_arrow()

    def _distinct_labels(self) -> set[str]:
        found = self._scan(_LABELS, ["label"], "")
        return set() if found is None else set(pc.unique(found["label"]).to_pylist())


def _is_indexed(table: Any) -> bool:
    return any("vector" in index.columns for index in table.list_indices())


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
    )


def _time(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)


def _condition(where: Where, *, score: str | None) -> str:
    """SQL, or nothing. score: the column that `min_score` is of; a cosine is no column."""
    parts = [_in("camera", where.cameras), _in("seq", where.seqs)]
    if where.since is not None:
        parts.append(f"time >= {where.since}")
    if where.until is not None:
        parts.append(f"time < {where.until}")
    if score is not None and where.min_score is not None:
        parts.append(f"{score} >= {where.min_score}")
    return _and(*parts)


def _in(column: str, values: Sequence[object]) -> str:
    literals = (str(v) if isinstance(v, int) else "'" + str(v).replace("'", "''") + "'" for v in values)
    return f"{column} IN ({', '.join(literals)})" if values else ""


def _and(*conditions: str) -> str:
    return " AND ".join(c for c in conditions if c)
