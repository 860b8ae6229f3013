"""A real surge, with graceful degradation and without: latency, deferred work and backfilled work.

    python -m bench.bench_surge [--start 60] [--surge 120] [--write runs.json]

About six minutes per form. A Stack runs with `deploy/keda/demand/cv.yaml`, and a script publishes real segments: one
camera, then six, then one again, then none. A worker's device is paced (`bench.paced_cv`), so that workers on two cores
don't slow each other; its start takes as long as a pod's on a new node. A segment's wait is the time from its arrival
to its event.

Next to each form are simulations of the same arrivals, as in `bench.bench_reality`: the mean over its seeds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import bench_reality as reality
from bench.bench_reality import Script
from shared.bus.log import Log
from shared.client.rates import quantile
from shared.contract import names
from shared.contract.events import Detections, DetectionsRevision
from shared.runtime import telemetry
from shared.runtime.settings import BusSettings
from shared.runtime.tasks import end
from tidegate.demo.report import Tally, read_back, tally
from tidegate.keda.scaledobject import ScaledObject
from tidegate.local.scaling.scaled_objects import setting
from tidegate.local.stack import Stack
from tidegate.simulation.engine import Result, Workload, run
from tidegate.simulation.queue import Elastic
from tidegate.view.monitor import frames_wanted

LATENCY_TARGET_S = 5.0
FPS = 5
FLOOR = 1.0
PACE_S = 0.15
# The rate of one paced worker, in segments per second.
RATE = 1 / (PACE_S * FPS)
MOST_WORKERS = 6
CALM, SURGE = 1 / RATE, 6 / RATE
AFTER_S = 60.0
MOST_TAIL_S = 300.0
# The start of a process itself, in seconds.
PROCESS_S = 4.0
RECORDED = Path("bench-output/surge.json")

out = Console(width=120, highlight=False)


class RecordedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a simulation, and the real run's figures. Times are seconds since the autoscaler's creation.

    start_s: of a worker, without its process. seconds: of the run. first_poll: of the autoscaler. arrivals: of every
    segment. timeline: requested replicas. p99_s: of all waits. load: the machine's load average at the end.
    """

    elastic: bool
    start_s: float
    seconds: float
    first_poll: float
    arrivals: list[float]
    timeline: list[tuple[float, int]]
    replica_seconds: float
    p99_s: float
    deferred: int
    load: float


class SurgeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    waited: seconds of every segment of the surge. all_waited: of every segment. fps: analysed frames per second of each
    segment. wanted, analysed: frames of all segments. deferred: segments. revised, lost: revisions with and without a
    result. repeated: segments with two revisions. simulated: the simulations of the recorded run.
    """

    waited: list[float]
    all_waited: list[float]
    fps: list[float]
    wanted: int
    analysed: int
    deferred: int
    revised: int
    lost: int
    repeated: int
    tally: Tally
    run: RecordedRun
    simulated: list[Result]

    @property
    def peak(self) -> int:
        return max(n for _, n in self.run.timeline)


async def surge(start_s: float, surge_s: float, target_s: float) -> SurgeResult:
    """Run the script. target_s: the workers' latency target; 0 disables degradation."""
    scaled = scaled_object(start_s)
    env = {
        "CV_FPS": str(FPS),
        "CV_FPS_FLOOR": str(FLOOR),
        "CV_BATCH_SIZE": str(FPS),
        setting("cv"): str(target_s),
        "PACE_S": str(PACE_S),
        "START_S": str(start_s),
        "LOG_LEVEL": "warning",
    }
    script: Script = ((start_s + 30.0, CALM), (surge_s, SURGE), (AFTER_S, CALM))
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder), {"cv": scaled}, port=0, env={"cv": env}) as stack:
            began = time.monotonic()
            workers = stack.pools["cv"]
            workers.command = [sys.executable, "-m", "bench.paced_cv"]
            monitor = reality.AutoscalerMonitor(stack, began)
            monitor_task = asyncio.create_task(monitor.run())
            try:
                first = time.time() + script[0][0]
                arrivals = await reality.play(stack.admin, script, RATE, began)
                with suppress(TimeoutError):
                    async with asyncio.timeout(MOST_TAIL_S):
                        while not await _is_drained(stack.admin):
                            await asyncio.sleep(0.5)
                used, seconds = workers.replica_seconds, time.monotonic() - began
            finally:
                await end(monitor_task)
            found = await _collect(stack.admin, (first, first + surge_s))
    recorded = RecordedRun(
        elastic=target_s > 0,
        start_s=start_s,
        seconds=seconds,
        first_poll=monitor.first_poll,
        arrivals=[round(at, 3) for at in arrivals],
        timeline=[(round(at, 2), n) for at, n in monitor.timeline],
        replica_seconds=used,
        p99_s=quantile(found["all_waited"], 0.99) or 0.0,
        deferred=found["deferred"],
        load=os.getloadavg()[0],
    )
    return SurgeResult(run=recorded, simulated=[simulate(recorded, seed) for seed in range(reality.SEEDS)], **found)


def scaled_object(start_s: float) -> ScaledObject:
    """Return the repository's ScaledObject by demand, for these workers."""
    scaled = reality.fitted("demand", RATE, start_s + PROCESS_S)
    spec = msgspec.structs.replace(scaled.spec, max_replica_count=MOST_WORKERS)
    return msgspec.structs.replace(scaled, spec=spec)


def simulate(real: RecordedRun, seed: int) -> Result:
    """Simulate the same arrivals. The device is paced by the frame, so a level costs its share of frames."""
    shares = (1.0, FLOOR / FPS)
    load = Workload(
        service_rate=RATE,
        service_cv=0.0,
        cold_start_s=real.start_s + PROCESS_S,
        latency_target_s=LATENCY_TARGET_S,
        max_replicas=MOST_WORKERS,
        batch=1,
        seed=seed,
        elastic=Elastic(costs=shares, analysed=shares) if real.elastic else None,
    )
    trace = reality.trace_of("surge", real.arrivals, real.seconds)
    return run(reality.policy("surge", scaled_object(real.start_s), real.first_poll, seed), trace, load, initial=0)


async def _is_drained(client: Client) -> bool:
    """Return whether neither live nor deferred work waits."""
    js = client.jetstream()
    for stream, consumer in ((names.MEDIA, "cv"), (names.BACKFILL, names.backfilling("cv"))):
        info = await js.consumer_info(stream, consumer)
        if info.num_pending or info.num_ack_pending:
            return False
    return True


async def _collect(client: Client, during: tuple[float, float]) -> dict[str, Any]:
    """Return the fields of a result that the streams tell. during: the surge, in Unix seconds."""
    found = await read_back(client)
    events = [s.event for s in found.detections]
    revisions = await _revisions(client)
    waits = [(s.event.start.timestamp(), s.at - s.event.start.timestamp()) for s in found.detections]
    revised = [r.revises for r in revisions]
    return {
        "waited": [wait for at, wait in waits if during[0] <= at < during[1]],
        "all_waited": [wait for _, wait in waits],
        "fps": [len(e.frames) / e.duration for e in events],
        "wanted": sum(map(frames_wanted, events)),
        "analysed": sum(len(e.frames) for e in events),
        "deferred": sum(e.quality is not None for e in events),
        "revised": sum(r.lost is None for r in revisions),
        "lost": sum(r.lost is not None for r in revisions),
        "repeated": len(revised) - len(set(revised)),
        "tally": tally(found.segments, (e.segment.seq for e in events), found.dead, found.settled),
    }


async def _revisions(client: Client) -> list[DetectionsRevision]:
    async with Log(client, names.EVENTS) as log:
        stored = await log.all(names.event(names.revised(Detections.kind), ">"))
    return [msgspec.json.decode(each.data, type=DetectionsRevision) for each in stored]


def _mean(result: SurgeResult, of: str) -> float:
    return statistics.fmean(getattr(run, of) for run in result.simulated)


def show(runs: Sequence[tuple[str, SurgeResult]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name, _ in runs:
        table.add_column(name, justify="right", no_wrap=True)
    rows = (
        ("wait in the surge, p50", lambda s: f"{quantile(s.waited, 0.50) or 0:.1f} s"),
        ("p99", lambda s: f"{quantile(s.waited, 0.99) or 0:.1f} s"),
        ("longest", lambda s: f"{max(s.waited, default=0):.1f} s"),
        ("frames analysed at first", lambda s: f"{s.analysed} of {s.wanted}"),
        ("least frames a second", lambda s: f"{min(s.fps, default=0):.1f}"),
        ("segments deferred", lambda s: f"{s.deferred}"),
        ("backfilled", lambda s: f"{s.revised}"),
        ("reported lost, repeated", lambda s: f"{s.lost}, {s.repeated}"),
        ("segments", lambda s: f"{s.tally.segments}"),
        ("lost, doubled", lambda s: f"{s.tally.lost}, {s.tally.duplicated}"),
        ("wait in the whole run, p99", lambda s: f"{quantile(s.all_waited, 0.99) or 0:.1f} s"),
        ("simulated", lambda s: f"{_mean(s, 'p99_s'):.1f} s"),
        ("peak workers", lambda s: f"{s.peak}"),
        ("simulated", lambda s: f"{_mean(s, 'peak_replicas'):.1f}"),
        ("replica-seconds", lambda s: f"{s.run.replica_seconds:.0f}"),
        ("simulated", lambda s: f"{_mean(s, 'replica_hours') * 3600:.0f}"),
        ("deferred, simulated", lambda s: f"{_mean(s, 'deferred'):.0f}"),
        ("backfilled, simulated", lambda s: f"{_mean(s, 'backfilled'):.0f}"),
    )
    for what, of in rows:
        table.add_row(what, *(of(result) for _, result in runs))
    out.print(table)


async def main(start_s: float, surge_s: float, file: Path) -> None:
    telemetry.configure(BusSettings(log_level="error"), "bench")
    out.print(
        f"1 camera, 6 for {surge_s:.0f} s, 1; a worker does {RATE:.2f} cameras in full and starts in "
        f"{start_s + PROCESS_S:.0f} s; latency target {LATENCY_TARGET_S:g} s, floor {FLOOR:g} of {FPS} frames a second"
    )
    runs = []
    for name, target_s in (("in full", 0.0), ("elastic", LATENCY_TARGET_S)):
        runs.append((name, await surge(start_s, surge_s, target_s)))
    show(runs)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode([result.run for _, result in runs]))
    out.print(f"recorded in {file}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=float, default=60.0, help="seconds that a worker's start is stretched to")
    parser.add_argument("--surge", type=float, default=120.0, help="seconds of six cameras")
    parser.add_argument("--write", type=Path, default=RECORDED, help="file of the recorded runs")
    options = parser.parse_args()
    asyncio.run(main(options.start, options.surge, options.write))
