"""A replica of cv that works on a run while it is idle, and the cost for live video.

    python -m bench.bench_idle                    # four minutes of video, and a minute of live video, twice
    python -m bench.bench_idle --minutes 1 --seconds 30

One process of `tidegate reanalyze`, an idle replica, and a replica with one live segment a second do the same pieces.
For live video, the time from publication to event is measured, with such a run and without. The replica computes with
one thread and decodes with one.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import record
from bench.bench_reanalyze import rate
from shared import bus
from shared.contract import names, topology
from tests.support.processes.service_process import ServiceProcess
from tests.support.worlds.archive_world import planned, recorded
from tests.support.worlds.recorder_world import publish
from tidegate.archive.engines.live_engine import LiveEngine
from tidegate.archive.engines.local_engine import LocalEngine
from tidegate.archive.job import Job, Piece
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer

MODEL = "ssd_mobilenet_v2_coco"
EVERY_S = 1.0
Plan = tuple[Job, list[Piece]]


async def latencies(admin: Client, camera: str, seconds: int) -> list[float]:
    """Return the seconds from publication to event, for sequential segments."""
    video = clips.pieces(footage.embedded()[0], camera)
    events = await admin.subscribe(names.event("detections", camera))
    found = []
    for n in range(seconds):
        piece = video[n % len(video)]
        segment = replace(piece.segment, n=n, epoch="live", start=dt.datetime.now(dt.UTC))
        began = time.perf_counter()
        await publish(admin, [piece._replace(segment=segment)], camera)
        await events.next_msg(timeout=60)
        found.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, began + EVERY_S - time.perf_counter()))
    return found


def by_replica(folder: Path, job: Job, pieces: Sequence[Piece]) -> float:
    with LiveEngine(folder, 1, print) as engine:
        return rate(engine, job, pieces)


async def measure(folder: Path, idle: Plan, busy: Plan, seconds: int) -> tuple[float, float, list[float], list[float]]:
    """Return frames per second of two runs, and latencies in seconds without a run and with one."""
    async with NatsServer(folder / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(admin.jetstream(), topology.TopologySettings())
        os.environ |= server.environment("admin")
        (folder / "cv").mkdir()
        one = {"CV_INFER_THREADS": "1", "CV_THREADS": "1", "CV_STATIC_SCENE_REFRESH_S": "0"}
        cv = ServiceProcess("cv", server.environment("cv"), folder / "cv", **one)
        await cv.until_it_says("/readyz", "^ok")
        without_run = await latencies(admin, "alone", seconds)
        idle_rate = await asyncio.to_thread(by_replica, folder, *idle)
        run = asyncio.create_task(asyncio.to_thread(by_replica, folder, *busy))
        await asyncio.sleep(5)
        with_run: list[float] = []
        while not run.done():
            with_run += await latencies(admin, f"beside-{len(with_run)}", 5)
        busy_rate = await run
        await cv.end()
        await admin.close()
    return idle_rate, busy_rate, without_run, with_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4, help="of recorded video, of two cameras together")
    parser.add_argument("--seconds", type=int, default=60, help="of live video without a run beside it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = folder / "recordings"
        recorded(store, ("alley", "crossing"), max(1, round(options.minutes)), seconds=30)
        process = rate(LocalEngine(1, 1), *planned(store, folder / "process"))
        idle, busy = (planned(store, folder / way, model=f"cv:{MODEL}", device="") for way in ("idle", "busy"))
        idle_rate, busy_rate, without_run, with_run = asyncio.run(measure(folder, idle, busy, options.seconds))
    rates = {"one process": process, "an idle replica": idle_rate, "one with live video": busy_rate}
    _show(rates, {"without a run": without_run, "with one": with_run})


def _show(rates: dict[str, float], waits: dict[str, list[float]]) -> None:
    console, process = Console(), rates["one process"]
    table = Table("a run by", "frames/s", "of one process", box=None)
    for name, frames in rates.items():
        table.add_row(name, f"{frames:.1f}", f"{frames / process:.2f}")
    console.print(table)
    live = Table("live video", "segments", "p50, ms", "p99, ms", box=None)
    for name, found in waits.items():
        half, most = np.percentile(found, [50, 99]) * 1000
        live.add_row(name, str(len(found)), f"{half:.0f}", f"{most:.0f}")
    console.print(live)
    record.write("idle", higher={f"{name}, of one process": frames / process for name, frames in rates.items()})


if __name__ == "__main__":
    main()
