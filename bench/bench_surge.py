"""A real surge, with elastic quality and without: what segments wait for, what is left out, and what is made good.

    python -m bench.bench_surge [--start 60] [--surge 120]

About six minutes a form. A Stack runs with `deploy/keda/demand/cv.yaml`, and a script publishes real segments: one
camera, then six, then one again, then none. A worker's device is paced (`bench.paced_cv`), so that workers on two cores
don't slow each other, and its start is stretched to that of a pod on a new node. Waited is what passes from a segment's
arrival to its event.

Beside each form is what the simulator makes of the same arrivals, as `bench.bench_reality` does: the mean of as many
simulations as it has seeds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

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
from tidegate.local.elastic import setting
from tidegate.local.stack import Stack
from tidegate.simulation.engine import Result, Workload, run
from tidegate.simulation.queue import Elastic
from tidegate.view.monitor import frames_wanted

LATENCY_TARGET_S = 5.0
FPS = 5
FLOOR = 1.0
PACE_S = 0.15
# Of one paced worker, in segments of a second a second.
RATE = 1 / (PACE_S * FPS)
MOST_WORKERS = 6
CALM, SURGE = 1 / RATE, 6 / RATE
AFTER_S = 60.0
MOST_TAIL_S = 300.0
# What a process takes to start by itself.
PROCESS_S = 4.0

out = Console(width=120, highlight=False)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One run. waited: seconds of every segment of the surge. fps: frames of a second that were looked at, of each
    segment. wanted, looked: frames of all. revised, lost: revisions by whether they say something. again: segments with
    two. replica_seconds: used. all_waited: seconds of every segment. simulated: the same, as the simulator has it.
    """

    waited: list[float]
    all_waited: list[float]
    fps: list[float]
    wanted: int
    looked: int
    put_off: int
    revised: int
    lost: int
    again: int
    tally: Tally
    peak: int
    replica_seconds: float
    simulated: list[Result]


async def surge(start_s: float, surge_s: float, target_s: float) -> Seen:
    """Run the script. target_s: what workers defend; 0: nothing."""
    scaled = reality.fitted("demand", RATE, start_s + PROCESS_S)
    spec = msgspec.structs.replace(scaled.spec, max_replica_count=MOST_WORKERS)
    scaled = msgspec.structs.replace(scaled, spec=spec)
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
            watch = reality.Watch(stack, began)
            watching = asyncio.create_task(watch.run())
            try:
                first = time.time() + script[0][0]
                arrivals = await reality.play(stack.admin, script, RATE, began)
                with suppress(TimeoutError):
                    async with asyncio.timeout(MOST_TAIL_S):
                        while not await _all_done(stack.admin):
                            await asyncio.sleep(0.5)
                used, seconds = workers.replica_seconds, time.monotonic() - began
            finally:
                await end(watching)
            simulated = [
                _simulated(scaled, (arrivals, seconds), watch.first_poll, start_s, bends=target_s > 0, seed=seed)
                for seed in range(reality.SEEDS)
            ]
            peak = max(n for _, n in watch.asked)
            return await _seen(stack.admin, (first, first + surge_s), peak, used, simulated)


def _simulated(
    scaled: ScaledObject,
    came: tuple[Sequence[float], float],
    first_poll: float,
    start_s: float,
    *,
    bends: bool,
    seed: int,
) -> Result:
    """The device is paced by the frame, so that a level costs what it looks at.

    came: when each segment did, and for how long replicas were paid for, in seconds from the start.
    """
    shares = (1.0, FLOOR / FPS)
    load = Workload(
        service_rate=RATE,
        service_cv=0.0,
        cold_start_s=start_s + PROCESS_S,
        latency_target_s=LATENCY_TARGET_S,
        max_replicas=MOST_WORKERS,
        batch=1,
        seed=seed,
        elastic=Elastic(costs=shares, analysed=shares) if bends else None,
    )
    trace = reality.trace_of("surge", *came)
    return run(reality.policy("surge", scaled, first_poll, seed), trace, load, initial=0)


async def _all_done(client: Client) -> bool:
    """Nothing waits, and nothing that was put off does."""
    js = client.jetstream()
    for stream, consumer in ((names.MEDIA, "cv"), (names.BACKFILL, names.backfilling("cv"))):
        info = await js.consumer_info(stream, consumer)
        if info.num_pending or info.num_ack_pending:
            return False
    return True


async def _seen(client: Client, during: tuple[float, float], peak: int, used: float, simulated: list[Result]) -> Seen:
    found = await read_back(client)
    events = [s.event for s in found.detections]
    revisions = await _revisions(client)
    waits = [(s.event.start.timestamp(), s.at - s.event.start.timestamp()) for s in found.detections]
    revised = [r.revises for r in revisions]
    return Seen(
        waited=[wait for at, wait in waits if during[0] <= at < during[1]],
        all_waited=[wait for _, wait in waits],
        fps=[len(e.frames) / e.duration for e in events],
        wanted=sum(map(frames_wanted, events)),
        looked=sum(len(e.frames) for e in events),
        put_off=sum(e.quality is not None for e in events),
        revised=sum(r.lost is None for r in revisions),
        lost=sum(r.lost is not None for r in revisions),
        again=len(revised) - len(set(revised)),
        tally=tally(found.segments, (e.segment.seq for e in events), found.dead, found.settled),
        peak=peak,
        replica_seconds=used,
        simulated=simulated,
    )


async def _revisions(client: Client) -> list[DetectionsRevision]:
    async with Log(client, names.EVENTS) as log:
        stored = await log.all(names.event(names.revised(Detections.kind), ">"))
    return [msgspec.json.decode(each.data, type=DetectionsRevision) for each in stored]


def _mean(seen: Seen, of: str) -> float:
    return statistics.fmean(getattr(result, of) for result in seen.simulated)


def show(runs: Sequence[tuple[str, Seen]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name, _ in runs:
        table.add_column(name, justify="right", no_wrap=True)
    rows = (
        ("waited in the surge, p50", lambda s: f"{quantile(s.waited, 0.50) or 0:.1f} s"),
        ("p99", lambda s: f"{quantile(s.waited, 0.99) or 0:.1f} s"),
        ("longest", lambda s: f"{max(s.waited, default=0):.1f} s"),
        ("frames looked at, at first", lambda s: f"{s.looked} of {s.wanted}"),
        ("least frames of a second", lambda s: f"{min(s.fps, default=0):.1f}"),
        ("segments put off", lambda s: f"{s.put_off}"),
        ("made good", lambda s: f"{s.revised}"),
        ("said to be lost, twice", lambda s: f"{s.lost}, {s.again}"),
        ("segments", lambda s: f"{s.tally.segments}"),
        ("lost, doubled", lambda s: f"{s.tally.lost}, {s.tally.duplicated}"),
        ("waited in all of it, p99", lambda s: f"{quantile(s.all_waited, 0.99) or 0:.1f} s"),
        ("simulated", lambda s: f"{_mean(s, 'p99_s'):.1f} s"),
        ("workers at most", lambda s: f"{s.peak}"),
        ("simulated", lambda s: f"{_mean(s, 'peak_replicas'):.1f}"),
        ("replica-seconds", lambda s: f"{s.replica_seconds:.0f}"),
        ("simulated", lambda s: f"{_mean(s, 'replica_hours') * 3600:.0f}"),
        ("put off, simulated", lambda s: f"{_mean(s, 'deferred'):.0f}"),
        ("made good, simulated", lambda s: f"{_mean(s, 'backfilled'):.0f}"),
    )
    for what, of in rows:
        table.add_row(what, *(of(seen) for _, seen in runs))
    out.print(table)


async def main(start_s: float, surge_s: float) -> None:
    telemetry.configure(BusSettings(log_level="error"), "bench")
    out.print(
        f"1 camera, 6 for {surge_s:.0f} s, 1; a worker does {RATE:.2f} cameras in full and starts in "
        f"{start_s + PROCESS_S:.0f} s; latency target {LATENCY_TARGET_S:g} s, floor {FLOOR:g} of {FPS} frames a second"
    )
    runs = []
    for name, target_s in (("in full", 0.0), ("elastic", LATENCY_TARGET_S)):
        runs.append((name, await surge(start_s, surge_s, target_s)))
    show(runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=float, default=60.0, help="seconds that a worker's start is stretched to")
    parser.add_argument("--surge", type=float, default=120.0, help="seconds of six cameras")
    options = parser.parse_args()
    asyncio.run(main(options.start, options.surge))
