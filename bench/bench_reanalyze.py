"""`tidegate reanalyze` next to a bare loop of the same model over the same video.

    python -m bench.bench_reanalyze                    # an hour of video, by two cores
    python -m bench.bench_reanalyze --minutes 10 --fps 2

A bare loop decodes and detects in one process, and stores nothing. The others write Parquet, and their time is of the
whole run. Each is compared with the same number of concurrent bare loops, because two cores of a chip are slower than
twice one. A machine of Ray is a node of one core; in the last run one of two is killed half way.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import record
from tests.support.worlds.archive_world import planned, recorded, seen
from tidegate.archive.engines import ray_engine
from tidegate.archive.engines.local_engine import LocalEngine
from tidegate.archive.frames.analysis import Analyzer
from tidegate.archive.frames.decoding import read_piece
from tidegate.archive.job import Job, Piece
from tidegate.archive.run import Engine, Run
from tidegate.archive.sync_store import SyncStore

MACHINE = {"num_cpus": 1, "object_store_memory": 512 * 2**20}
SIZE = (300, 300)


def bare(job: Job, pieces: Sequence[Piece]) -> float:
    """Return frames per second of one core."""
    analyzer, frames = Analyzer(job), 0
    with SyncStore(job.store, "--store") as recordings:
        began = time.perf_counter()
        for piece in pieces:
            frames += analyzer.analyze(read_piece(recordings, piece, job, SIZE)).totals.frames
    return frames / (time.perf_counter() - began)


def rate(engine: Engine, job: Job, pieces: Sequence[Piece], cluster: Any = None) -> float:
    """Return frames per second of a run. cluster: loses a machine half way."""
    frames = sum(piece.frames(job.looks[piece.camera]) for piece in pieces)
    with SyncStore(job.output, "--output") as results:
        run = Run.create(job, pieces, results)
        began = time.perf_counter()
        for state in run.analyze(engine, SIZE):
            if cluster and state.done > run.frames / 2:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                cluster = None
        return frames / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of video, of two cameras together")
    parser.add_argument("--fps", type=float, default=5)
    options = parser.parse_args()
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "recordings"
        recorded(store, ("alley", "crossing"), max(1, round(options.minutes)), seconds=30)
        found: list[tuple[str, int, float]] = []

        def measure(name: str, workers: int, engine: Engine, cluster: Any = None) -> None:
            output = Path(folder) / name.replace(" ", "-")
            job, pieces = planned(store, output, fps=options.fps)
            found.append((name, workers, rate(engine, job, pieces, cluster)))
            assert len(seen(output)) == sum(len(piece.cuts) for piece in pieces), "each segment once"

        job, pieces = planned(store, Path(folder) / "bare", fps=options.fps)
        some = pieces[: max(1, len(pieces) // 4)]
        for name, count in (("bare loop", 1), ("two bare loops", 2)):
            with get_context("spawn").Pool(count) as pool:
                found.append((name, count, sum(pool.starmap(bare, [(job, some)] * count))))
        measure("one process", 1, LocalEngine(1, 1))
        measure("two processes", 2, LocalEngine(2, 1))
        for name, count, killed in (
            ("one machine of Ray", 1, False),
            ("two of Ray", 2, False),
            ("two, one dies", 2, True),
        ):
            cluster = Cluster(initialize_head=True, head_node_args=MACHINE)
            for _ in range(count - 1):
                cluster.add_node(**MACHINE)
            with ray_engine.cluster(cluster.address) as engine:
                measure(name, count, engine, cluster if killed else None)
            cluster.shutdown()
        _show(found, sum(piece.seconds for piece in pieces) / 60)


def _show(found: Sequence[tuple[str, int, float]], minutes: float) -> None:
    table = Table("", "workers", "frames/s", "a worker", "of bare loops", box=None)
    loops = {workers: frames for _, workers, frames in found[:2]}
    for name, workers, frames in found:
        table.add_row(name, str(workers), f"{frames:.1f}", f"{frames / workers:.1f}", f"{frames / loops[workers]:.2f}")
    console = Console()
    console.print(f"{minutes:.0f} minutes of video")
    console.print(table)
    record.write("reanalyze", higher={f"{name}, of bare loops": frames / loops[n] for name, n, frames in found[2:]})


if __name__ == "__main__":
    main()
