"""Memory over ten minutes of load: RSS of ingest and of a cv worker, at the start, on the way and at the end.

python -m bench.bench_memory [minutes]
"""

from __future__ import annotations

import asyncio
import sys
import time

import psutil
from rich.console import Console
from rich.table import Table

from bench import world
from services.scaler.local.replicas import Replicas
from shared.contract.cameras import new_camera
from tidegate.client import registry
from tidegate.demo import footage
from tidegate.demo.bank import Bank

CAMERAS = 4
# Caches and arenas have filled by then: growth after it is a leak.
WARM_S = 60.0
STEPS = 10
MB = 1024 * 1024


def rss(service: str) -> float:
    """MB of our one process of a service."""
    for process in psutil.Process().children():
        if process.cmdline()[-2:] == ["-m", f"services.{service}"]:
            return float(process.memory_info().rss / MB)
    raise RuntimeError(f"{service} is not running")


async def main(minutes: float, out: Console) -> bool:
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[:CAMERAS]
    rows: list[tuple[float, float, float, int]] = []
    async with world.serving() as (server, admin, folder), Bank(videos, folder) as bank:
        js = admin.jetstream()
        pools = [
            Replicas(s, [sys.executable, "-m", f"services.{s}"], server.environment(s) | {"CV_FPS": "2"}, folder)
            for s in ("ingest", "cv")
        ]
        for pool in pools:
            await pool.scale_to(1)
        for n, url in enumerate(bank.urls):
            await registry.put(js, f"camera-{n}", *new_camera(url))
        await asyncio.sleep(WARM_S)
        started = time.monotonic()
        for step in range(STEPS + 1):
            await asyncio.sleep(max(0.0, started + step * minutes * 60 / STEPS - time.monotonic()))
            done = (await js.stream_info("EVENTS")).state.last_seq
            rows.append((time.monotonic() - started, rss("ingest"), rss("cv"), done))
        await asyncio.gather(*(pool.close() for pool in pools))
    table = Table("seconds", "ingest MB", "cv worker MB", "events so far")
    for seconds, ingest, cv, done in rows:
        table.add_row(f"{seconds:.0f}", f"{ingest:.1f}", f"{cv:.1f}", str(done))
    out.print(f"{CAMERAS} cameras, {WARM_S:.0f} s of warming up before the first row")
    out.print(table)
    growth = [rows[-1][i] / rows[0][i] - 1 for i in (1, 2)]
    out.print(f"growth: ingest {growth[0]:+.1%}, cv worker {growth[1]:+.1%}")
    return max(growth) < 0.1


if __name__ == "__main__":
    given = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    sys.exit(0 if asyncio.run(main(given, Console(width=100))) else 1)
