"""The index with a million vectors: its write rate, its latency and its recall.

The vectors are synthetic but like those of cameras: each camera has ten scenes, consecutive vectors have a cosine of
some 0.93, and vectors of two scenes 0.36. Queries are rows with noise, like a picture. They are compared with an exact
search of the same rows under the same filter. Filters are by camera, independent of the query: the hardest case.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from services.search.chunk import TUNING
from services.search.index import Index
from services.search.retention import Retention
from services.search.rows import VectorRow, Where
from services.search.settings import SearchSettings
from shared.models.vectors import normalise, pack

DIMENSION = 512
CAMERAS, SCENES, RUN = 200, 10, 50
BATCH = 1000
QUERIES = 200
CHECKED = 30
K = 10
APPEND, P99_MS, RECALL = 5000, 50.0, 0.95
LABELS = ("person", "car", "truck", "bicycle", "dog")
MODEL = "made-up"

Vectors = NDArray[np.float16]


class Rows(NamedTuple):
    """The rows of the index. vectors: (n, dimension). cameras: of each vector."""

    vectors: Vectors
    cameras: NDArray[np.int64]


def make(count: int, chance: np.random.Generator) -> Rows:
    """Return runs of vectors of one camera's scene, each near the previous one."""
    common = normalise(chance.standard_normal(DIMENSION, np.float32))
    apart = normalise(chance.standard_normal((CAMERAS * SCENES, DIMENSION), np.float32))
    scenes = np.sqrt(0.5) * common + np.sqrt(0.5) * apart
    vectors = np.empty((count, DIMENSION), np.float16)
    cameras = chance.integers(0, CAMERAS, count // RUN)
    for n, camera in enumerate(cameras):
        noise = normalise(chance.standard_normal((RUN, DIMENSION), np.float32))
        for i in range(1, RUN):
            noise[i] = 0.75 * noise[i - 1] + 0.66 * noise[i]
        scene = scenes[camera * SCENES + chance.integers(SCENES)]
        vectors[n * RUN : (n + 1) * RUN] = normalise(0.84 * scene + 0.54 * noise)
    return Rows(vectors, np.repeat(cameras, RUN))


def batches(rows: Rows) -> Iterator[list[VectorRow]]:
    """Yield rows as the service writes them, in batches."""
    for first in range(0, len(rows.vectors), BATCH):
        yield [
            VectorRow(
                id=f"embed/{MODEL}/MEDIA/{n}#0",
                camera=f"camera-{rows.cameras[n]:03}",
                start=n * 20,
                end=n * 20 + 1000,
                time=n * 20,
                seq=n,
                label=LABELS[n % len(LABELS)],
                score=0.5,
                box=(0.0, 0.0, 1.0, 1.0),
                model=MODEL,
                dimension=DIMENSION,
                vector=pack(rows.vectors[n]),
            )
            for n in range(first, min(first + BATCH, len(rows.vectors)))
        ]


def fill(index: Index, rows: Rows) -> float:
    """Rows/s, from the first row's making to the last index's end, tidied meanwhile as the service does it."""
    done, wake = threading.Event(), threading.Event()
    retention = Retention(index.tables, SearchSettings())

    def tidy() -> None:
        while not done.is_set():
            if wake.wait(0.1):
                wake.clear()
                retention.tidy()

    started = time.perf_counter()
    tidier = threading.Thread(target=tidy)
    tidier.start()
    added = 0
    for batch in batches(rows):
        index.add(batch, [])
        added += len(batch)
        if added >= TUNING.fresh:
            added = 0
            wake.set()
    done.set()
    tidier.join()
    retention.tidy()
    return len(rows.vectors) / (time.perf_counter() - started)


class Filter(NamedTuple):
    name: str
    cameras: int | None = None
    label: str | None = None
    share_of_time: float = 1.0


FILTERS = (
    Filter("none"),
    Filter("half of the cameras", cameras=CAMERAS // 2),
    Filter("10 of 200 cameras", cameras=10),
    Filter("1 camera", cameras=1),
    Filter("a label of 5", label="dog"),
    Filter("the last tenth of the time", share_of_time=0.1),
)


class Found(NamedTuple):
    recall: float
    milliseconds: list[float]


def search(
    index: Index, rows: Rows, exact: NDArray[np.float32], wanted: Filter, queries: int, chance: np.random.Generator
) -> Found:
    """Query, and compare the first answers with an exact search. exact: the vectors in full precision."""
    recalls, times = [], []
    n = len(rows.vectors)
    for q in range(queries):
        chosen = chance.choice(CAMERAS, wanted.cameras, replace=False) if wanted.cameras else np.arange(CAMERAS)
        first = round(n * (1 - wanted.share_of_time))
        where = Where(
            cameras=[f"camera-{c:03}" for c in chosen] if wanted.cameras else (),
            labels=[wanted.label] if wanted.label else (),
            since=first * 20 if first else None,
        )
        noise = normalise(chance.standard_normal(DIMENSION, np.float32))
        vector = normalise(0.87 * rows.vectors[chance.integers(n)].astype(np.float32) + 0.5 * noise)
        started = time.perf_counter()
        hits = index.similar(MODEL, vector, where, K)
        times.append((time.perf_counter() - started) * 1e3)
        if q < CHECKED:
            allowed = np.isin(rows.cameras, chosen)
            allowed[:first] = False
            if wanted.label:
                allowed &= np.arange(n) % len(LABELS) == LABELS.index(wanted.label)
            recalls.append(_recall(exact, vector, np.flatnonzero(allowed), [h.seq for h in hits]))
    # The first queries have cold caches.
    return Found(statistics.fmean(recalls), sorted(times[5:]))


def _recall(
    exact: NDArray[np.float32], query: NDArray[np.float32], allowed: NDArray[np.int64], found: Sequence[int]
) -> float:
    scores = (exact @ query)[allowed]
    best = allowed[np.argpartition(-scores, K)[:K]]
    return len(set(best.tolist()) & set(found)) / K


def main(out: Console, count: int, queries: int, folder_to_keep: Path | None) -> bool:
    chance = np.random.default_rng(7)
    out.print(f"making {count:,} vectors of {DIMENSION} …")
    rows = make(count, chance)
    with tempfile.TemporaryDirectory() as folder:
        where = folder_to_keep or Path(folder) / "index"
        rate = fill(Index(str(where)), rows) if not where.exists() else None
        started = time.perf_counter()
        index = Index(str(where))
        opened = time.perf_counter() - started
        size = index.tables.size()
        load = os.getloadavg()[0]
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - rows.vectors.nbytes / 2**20
        exact = rows.vectors.astype(np.float32)
        results = [(f, search(index, rows, exact, f, queries, chance)) for f in FILTERS]
    table = Table("filter", f"recall@{K}", "p50", "p99", "worst", title=f"top {K} of {count:,} vectors of {DIMENSION}")
    for wanted, found in results:
        ms = found.milliseconds
        cells = [f"{v:.0f} ms" for v in (ms[len(ms) // 2], ms[int(0.99 * len(ms))], ms[-1])]
        table.add_row(wanted.name, f"{found.recall:.3f}", *cells)
    out.print(table)
    out.print(
        (f"filled and indexed at {rate:,.0f} vectors/s (target {APPEND:,}); " if rate else "")
        + f"opened in {opened:.1f} s; "
        f"{size / 2**20:,.0f} MB on disk; {used:,.0f} MB of memory at most while filling, beside the vectors made up "
        f"here; targets: recall {RECALL}, p99 {P99_MS:.0f} ms; load average before the queries {load:.1f}"
    )
    return (rate is None or rate >= APPEND) and all(
        f.recall >= RECALL and f.milliseconds[int(0.99 * len(f.milliseconds))] <= P99_MS for _, f in results
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--index", type=Path, help="a folder that keeps the index, and is asked again if it is there")
    arguments = parser.parse_args()
    sys.exit(0 if main(Console(), arguments.vectors, arguments.queries, arguments.index) else 1)
