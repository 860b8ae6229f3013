"""The recordings as Parquet: a row for each file, and one for each gap.

Example:
    with catalogue(path) as add:
        add("lobby", one)        # a file or a hole
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shared.recordings.queries import ListedFile
from shared.recordings.records import Hole
from tidegate.client.files import written

_TIME = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        ("camera", pa.string()),
        ("start", _TIME),
        ("end", _TIME),
        ("key", pa.string()),
        ("size", pa.int64()),
        ("incident", pa.bool_()),
        ("keyframes", pa.bool_()),
        ("goes", _TIME),
        ("missing", pa.string()),
        ("segments", pa.int64()),
    ]
)
# Maximum rows in memory.
_AT_ONCE = 50_000


@contextlib.contextmanager
def catalogue(path: Path) -> Iterator[Callable[[str, ListedFile | Hole], None]]:
    """Yield the function that adds rows to a file, which exists once the block succeeds. A gap's row has its cause in
    `missing`, and null for all fields of a file. Raises SettingError if it can't be written.
    """
    with written(path, "--parquet") as part, pq.ParquetWriter(part, _SCHEMA, compression="zstd") as out:
        rows: list[dict[str, Any]] = []

        def write() -> None:
            out.write_table(pa.Table.from_pylist(rows, _SCHEMA))
            rows.clear()

        def add(camera: str, one: ListedFile | Hole) -> None:
            rows.append({"camera": camera, **_row(one)})
            if len(rows) == _AT_ONCE:
                write()

        yield add
        write()


def _row(one: ListedFile | Hole) -> dict[str, Any]:
    if isinstance(one, Hole):
        return {"start": one.since, "end": one.until, "missing": one.cause, "segments": one.segments or None}
    return {name: getattr(one, name) for name in one.__struct_fields__}
