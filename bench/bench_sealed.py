"""The cost of encrypted recordings: write and read a minute of a 4 Mbit/s camera, encrypted and plain.

    python -m bench.bench_sealed [rounds]

Both alternate in one folder. ms of CPU are of the process, and independent of other load on the disk.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import record
from shared.recordings.store import Store
from shared.recordings.stores.folder import Folder
from shared.recordings.stores.keys import Keys, Secret
from shared.recordings.stores.sealed import Sealed

ROUNDS = 20
SEGMENTS, SEGMENT = 60, 500_000
# The byte range of a group of pictures of a second.
BEGIN, END = 14_010_000, 14_510_000
KEY = "cam/2026-11-29/10/0000-a-0.mp4"
MB = SEGMENTS * SEGMENT / 1e6


async def measure_store(
    store: Store, parts: list[bytes], times: dict[str, list[tuple[float, float]]], name: str
) -> None:
    async def measure(what: str, work: object) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        await work  # type: ignore[misc]
        times[f"{name}, {what}"].append((time.perf_counter() - wall, time.process_time() - cpu))

    await measure("put", store.put(KEY, parts))
    await measure("read", store.read(KEY))
    await measure("a group", store.read(KEY, BEGIN, END))


async def run(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    parts = [os.urandom(SEGMENT) for _ in range(SEGMENTS)]
    stores = {
        "plain": Sealed(Folder(folder / "plain"), None, ""),
        "encrypted": Sealed(Folder(folder / "sealed"), Keys((Secret.new(),)), ""),
    }
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for n in range(rounds + 1):
        for name, store in stores.items():
            # The first round includes one-time costs and does not count.
            await measure_store(store, parts, times if n else defaultdict(list), name)
    for store in stores.values():
        await store.close()
    return times


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        times = asyncio.run(run(Path(name), rounds))
    found = {key: [statistics.median(values) for values in zip(*row, strict=True)] for key, row in times.items()}
    table = Table(title=f"{MB:.0f} MB in {SEGMENTS} parts", title_justify="left")
    for column in ("", "ms", "ms of CPU", "MB/s"):
        table.add_column(column, justify="right" if column else "left")
    for key, (wall, cpu) in found.items():
        size = (END - BEGIN) / 1e6 if key.endswith("group") else MB
        table.add_row(key, f"{1000 * wall:.2f}", f"{1000 * cpu:.2f}", f"{size / wall:.0f}")
    Console().print(table)
    record.write(
        "sealed",
        lower={
            f"{what}, encrypted / plain": found[f"encrypted, {what}"][0] / found[f"plain, {what}"][0]
            for what in ("put", "read", "a group")
        },
        figures={f"{key}, ms of CPU": 1000 * cpu for key, (_, cpu) in found.items()},
    )


if __name__ == "__main__":
    main()
