"""The simulator against reality: real cv workers under a scripted load, next to a simulation of the same load.

    python -m bench.bench_reality [--form lag|demand|both] [--pace SECONDS]

Five minutes for each form. A Stack runs with the ScaledObject of that form in real time. A script publishes real
segments of several cameras: nothing, about half a worker's load, more than one and a half, half again, nothing until
all workers have exited. The simulator gets measured inputs: arrivals, a saturated worker's rate and its variation, its
cold start, and the autoscaler's first poll. It has to compute the number of replicas and the latencies.

In a run of minutes, a decision may depend on the arbitrary fraction of a second at which the consumer is observed. So
SEEDS simulations run, each with another phase, and their mean is compared.

A worker's device is paced (`bench.paced_cv`), so that two workers on two cores don't slow each other; `--pace 0` uses
the bare detector.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from bench import world
from services.scaler.consumers.readers import EVERY_S
from services.scaler.live import metadata
from services.scaler.live.metadata import DemandQuery
from shared.client.rates import quantile
from shared.contract import names
from shared.contract.topology import TopologySettings
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime import telemetry
from shared.runtime.settings import BusSettings
from shared.runtime.tasks import end
from tidegate.demo.report import Tally, read_back, tally
from tidegate.keda import scaledobject
from tidegate.keda.scaledobject import JetStreamTrigger, MetricsApiTrigger, ScaledObject
from tidegate.keda.threshold import lag_threshold
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.scaling.scaled_objects import scaled_object, shipped
from tidegate.local.stack import Stack
from tidegate.simulation.engine import Policy, Result, Workload, run
from tidegate.simulation.policies import KedaDemand, KedaLag
from tidegate.simulation.trace import Trace

LATENCY_TARGET_S = 5.0
MAX_WORKERS = 2
PACE_S = 0.15
# One segment a batch, as in the simulator. Decoding and detecting must take at most half of the pace.
FRAMES = 2
# (seconds, busy workers)
Script = tuple[tuple[float, float], ...]
SCRIPT: Script = ((20.0, 0.0), (75.0, 0.5), (90.0, 1.6), (60.0, 0.5))
# After the script the workers exit one by one; this limits the wait for them.
MAX_TAIL_S = 180.0
# A cluster uses minutes; the bench uses seconds.
COOLDOWN_S = 30
DOWN_WINDOW_S = 30
# Share of the interval by which a segment is early or late. Arrivals in step with the polls would look always busy, or
# never.
JITTER = 0.4
# With this many segments in flight a worker is saturated.
SATURATED = 3
CALIBRATION = 30
POLL_S = 0.02
MERGE_S = 0.25
# The step of simulated arrivals: a third of a segment's time, so that cameras alternate in the simulation too.
STEP_S = 0.1
EXTRA_S = 60.0
SEEDS = 20
MATCH_S = 1.0
PLOT = Path("bench-output/reality.png")

Timeline = list[tuple[float, int]]
out = Console(width=120, highlight=False)


class Rate(msgspec.Struct, frozen=True):
    """The rate of one saturated worker. seconds: of saturated work, summed over workers."""

    segments: float
    seconds: float

    @property
    def per_s(self) -> float:
        return self.segments / self.seconds if self.seconds else 0.0

    def with_(self, other: Rate) -> Rate:
        return Rate(self.segments + other.segments, self.seconds + other.seconds)


class Beats:
    """Collects the heartbeats of cv's workers."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, WorkerStats]] = []  # monotonic seconds

    async def take(self, message: Msg) -> None:
        with suppress(msgspec.DecodeError):
            self.heard.append((time.monotonic(), stats.decode(message.data)))

    def rate(self) -> Rate:
        """Return the rate between saturated heartbeats."""
        processed = seconds = 0.0
        last: dict[int, WorkerStats] = {}
        for _, beat in self.heard:
            before = last.get(beat.pid)
            if before and min(before.in_flight, beat.in_flight) >= SATURATED and beat.state == "ready":
                processed += beat.processed - before.processed
                seconds += beat.working_s - before.working_s
            last[beat.pid] = beat
        return Rate(processed, seconds)

    def ready_at(self, replica: str, after: float) -> float | None:
        """Return when a replica's first process that started after `after` became ready."""
        old = {beat.pid for at, beat in self.heard if beat.replica == replica and at <= after}
        for at, beat in self.heard:
            if at > after and beat.replica == replica and beat.pid not in old and beat.state == "ready":
                return at
        return None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One real run. Times are seconds since the autoscaler's creation.

    arrivals: of every segment. first_poll: of the autoscaler. latencies: (arrival, seconds until its event was
    stored). decode_s: of a segment, before inference. cold_starts: seconds from the request for a worker until it was
    ready. timeline: requested replicas.
    """

    seconds: float
    arrivals: list[float]
    first_poll: float
    latencies: list[tuple[float, float]]
    decode_s: float
    service_cv: float
    rate: Rate
    cold_starts: list[float]
    timeline: Timeline
    replica_seconds: float
    busy_seconds: float
    tally: Tally
    starts: int
    load_average: tuple[float, float]


class Pace(msgspec.Struct, frozen=True):
    """The pace of a worker's device. least_s: for a picture; 0 is the bare detector."""

    least_s: float

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.paced_cv" if self.least_s else "services.cv"]

    @property
    def env(self) -> dict[str, str]:
        return {
            "CV_FPS": str(FRAMES),
            "CV_BATCH_SIZE": str(FRAMES),
            "PACE_S": str(self.least_s),
            "LOG_LEVEL": "warning",
        }


# ---- the real run


async def calibrate(pace: Pace) -> tuple[Rate, float]:
    """Return (rate, cold start in seconds) of one saturated worker."""
    async with world.serving() as (server, client, folder):
        beats = Beats()
        await client.subscribe("scale.cv.>", cb=beats.take)
        for n, piece in enumerate(islice(cycle(world.pieces()), CALIBRATION)):
            await world.publish(client.jetstream(), piece, epoch="bench", n=n, camera="calibration")
        started = time.monotonic()
        pool = Replicas("cv", pace.command, server.environment("cv") | pace.env, folder)
        await pool.scale_to(1)
        async with asyncio.timeout(120):
            while not beats.heard or beats.heard[-1][1].processed < CALIBRATION:
                await asyncio.sleep(0.1)
        await pool.close()
    return beats.rate(), (beats.ready_at("cv-0", started) or started) - started


def fitted(form: str, rate: float, cold_start_s: float) -> ScaledObject:
    """Return the repository's ScaledObject of a form, for this worker, with short windows."""
    path = shipped("cv.yaml" if form == "lag" else "demand/cv.yaml")
    scaled = scaled_object("cv", path)
    threshold = lag_threshold(rate, LATENCY_TARGET_S, max_in_flight=4, cold_start_s=cold_start_s)
    advanced = scaled.spec.advanced
    if form == "lag" and advanced and advanced.horizontal_pod_autoscaler_config:
        config = advanced.horizontal_pod_autoscaler_config
        behavior = config.behavior or scaledobject.Behavior()
        down = behavior.scale_down or scaledobject.ScalingRules()
        down = msgspec.structs.replace(down, stabilization_window_seconds=DOWN_WINDOW_S)
        config = msgspec.structs.replace(config, behavior=msgspec.structs.replace(behavior, scale_down=down))
        advanced = msgspec.structs.replace(advanced, horizontal_pod_autoscaler_config=config)
    spec = msgspec.structs.replace(
        scaled.spec, max_replica_count=MAX_WORKERS, cooldown_period=COOLDOWN_S, advanced=advanced
    )
    triggers: list[scaledobject.Trigger] = []
    for trigger in scaled.triggers:
        if isinstance(trigger, JetStreamTrigger):
            lag = threshold.value if form == "lag" else threshold.fallback
            triggers.append(msgspec.structs.replace(trigger, lag_threshold=lag))
        elif isinstance(trigger, MetricsApiTrigger):
            own = {
                "service": "cv",
                "latencyTarget": f"{LATENCY_TARGET_S:g}",
                "coldStart": f"{cold_start_s:.1f}",
                "lagThreshold": f"{threshold.value}",
            }
            page = trigger.url.partition("?")[0]
            triggers.append(msgspec.structs.replace(trigger, url=f"{page}?{urlencode(own)}"))
    return msgspec.structs.replace(scaled, spec=spec, triggers=tuple(triggers))


async def measure(scaled: ScaledObject, prior_rate: Rate, pace: Pace, script: Script = SCRIPT) -> Measured:
    """Run the script on its own Stack. prior_rate: of a worker, as calibrated."""
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder), {"cv": scaled}, port=0, env={"cv": pace.env}) as stack:
            began, created_s = time.monotonic(), stack.autoscalers["cv"].state.time
            workers = stack.pools["cv"]
            workers.command = pace.command
            beats = Beats()
            await stack.admin.subscribe("scale.cv.>", cb=beats.take)
            monitor = AutoscalerMonitor(stack, began)
            monitor_task = asyncio.create_task(monitor.run())
            try:
                arrivals = await play(stack.admin, script, prior_rate.per_s, began)
                with suppress(TimeoutError):
                    async with asyncio.timeout(MAX_TAIL_S):
                        while workers.count or workers.draining_count or not await is_drained(stack.admin):
                            await asyncio.sleep(0.2)
                seconds = time.monotonic() - began
                used, busy = workers.replica_seconds, stack.autoscalers["cv"].state.busy_seconds
            finally:
                await end(monitor_task)
            found = await read_back(stack.admin)
    infer_s = [s.event.timing.infer_ms / 1000 for s in found.detections]
    return Measured(
        seconds=seconds,
        arrivals=arrivals,
        first_poll=monitor.first_poll,
        latencies=[(s.event.start.timestamp() - created_s, s.at - s.event.start.timestamp()) for s in found.detections],
        service_cv=statistics.pstdev(infer_s) / statistics.fmean(infer_s) if infer_s else 0.0,
        decode_s=statistics.fmean(s.event.timing.decode_ms / 1000 for s in found.detections) if infer_s else 0.0,
        rate=prior_rate.with_(beats.rate()),
        cold_starts=_cold_starts(monitor.start_requests, beats),
        timeline=monitor.timeline,
        replica_seconds=used,
        busy_seconds=busy,
        tally=tally(found.segments, (s.event.segment.seq for s in found.detections), found.dead, found.settled),
        starts=len(monitor.start_requests),
        load_average=(load_before, os.getloadavg()[0]),
    )


def _cold_starts(start_requests: Sequence[tuple[str, float]], beats: Beats) -> list[float]:
    """Return the cold starts of the workers that became ready."""
    ready = [(beats.ready_at(replica, at), at) for replica, at in start_requests]
    return [r - at for r, at in ready if r is not None]


class AutoscalerMonitor:
    """Records the replicas that the autoscaler requests. start_requests: (replica, monotonic seconds)."""

    def __init__(self, stack: Stack, began: float) -> None:
        self._stack = stack
        self._began = began
        self.timeline: Timeline = [(0.0, 0)]
        self.start_requests: list[tuple[str, float]] = []
        self.first_poll = 0.0

    async def run(self) -> None:
        autoscaler = self._stack.autoscalers["cv"]
        created_s = autoscaler.state.time
        running: set[str] = set()
        while True:
            now = time.monotonic()
            if not self.first_poll and autoscaler.state.time != created_s:
                self.first_poll = now - self._began
            replicas = set(self._stack.pools["cv"].names)
            self.start_requests += [(name, now) for name in sorted(replicas - running)]
            if len(replicas) != self.timeline[-1][1]:
                self.timeline.append((now - self._began, len(replicas)))
            running = replicas
            await asyncio.sleep(POLL_S)


async def play(client: Client, script: Script, rate: float, began: float) -> list[float]:
    """Publish by the script. Return each segment's arrival, in seconds since `began`."""
    pieces = cycle(world.pieces())
    arrivals: list[float] = []
    chance = random.Random(1)
    n = 0
    phase_end = began
    for seconds, workers in script:
        start, phase_end = phase_end, phase_end + seconds
        cameras = round(workers * rate)
        if not cameras:
            await asyncio.sleep(max(0.0, phase_end - time.monotonic()))
        for i in range(round(seconds) * cameras):
            at = start + (i + 0.5 + chance.uniform(-JITTER, JITTER)) / cameras
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            arrivals.append(time.monotonic() - began)
            camera = f"camera-{n % cameras}"
            await world.publish(client.jetstream(), next(pieces), epoch="bench", n=n, camera=camera)
            n += 1
    return arrivals


async def is_drained(client: Client) -> bool:
    info = await client.jetstream().consumer_info(names.MEDIA, "cv")
    return not info.num_pending and not info.num_ack_pending


# ---- the simulated run


def simulate(form: str, scaled: ScaledObject, real: Measured, seed: int) -> Result:
    """Simulate the same load and controllers, with replicas as measured.

    seed: of a segment's place in its step, of each service time, and of the phase of observations.
    """
    # The extra time charges a fleet that scales down later than the real one.
    trace = trace_of(form, real.arrivals, real.seconds + EXTRA_S)
    load = Workload(
        service_rate=real.rate.per_s,
        service_cv=real.service_cv,
        cold_start_s=statistics.fmean(real.cold_starts) if real.cold_starts else 0.0,
        latency_target_s=LATENCY_TARGET_S,
        max_replicas=MAX_WORKERS,
        batch=1,
        seed=seed,
    )
    return run(policy(form, scaled, real.first_poll, seed), trace, load, initial=0)


def trace_of(name: str, arrivals: Sequence[float], seconds: float) -> Trace:
    """Return a trace of these arrivals, in seconds from the start."""
    counts = np.zeros(int(seconds / STEP_S), dtype=np.int64)
    np.add.at(counts, (np.array(arrivals) / STEP_S).astype(np.int64), 1)
    return Trace(name, STEP_S, counts)


def policy(form: str, scaled: ScaledObject, first_poll: float, seed: int) -> Policy:
    if form == "lag":
        return KedaLag(form, scaled, first_s=first_poll)
    trigger = next(t for t in scaled.triggers if isinstance(t, MetricsApiTrigger))
    query = metadata.parse_url(trigger.url)
    assert isinstance(query, DemandQuery)
    return KedaDemand(
        form,
        scaled,
        query.settings,
        retention_s=TopologySettings().media_max_age_s,
        observe_s=EVERY_S,
        first_observation_s=(seed / SEEDS - 1) * EVERY_S,
        first_s=first_poll,
    )


# ---- comparison


class Pair(msgspec.Struct, frozen=True):
    """A real run and its simulations, the cheapest first."""

    form: str
    real: Measured
    simulated: list[Result]

    @property
    def shown(self) -> Result:
        """The median simulation."""
        return self.simulated[len(self.simulated) // 2]

    @property
    def ratio(self) -> float:
        """Simulated replica-seconds divided by the real ones."""
        mean = statistics.fmean(r.replica_hours for r in self.simulated) * 3600
        return mean / self.real.replica_seconds if self.real.replica_seconds else 0.0

    @property
    def matching(self) -> int:
        """The number of simulations with the real run's decisions, each within MATCH_S."""
        return sum(
            len(r.timeline) == len(self.real.timeline)
            and all(
                n == m and abs(at - other) <= MATCH_S
                for (at, n), (other, m) in zip(r.timeline, self.real.timeline, strict=True)
            )
            for r in self.simulated
        )


def show(pair: Pair) -> None:
    real = pair.real
    starts = ", ".join(f"{s:.1f}" for s in real.cold_starts)
    before, after = real.load_average
    out.print(
        f"\n[bold]{pair.form}[/]: {real.tally.segments} segments in {real.seconds:.0f} s; load average {before:.1f} "
        f"before and {after:.1f} after\n"
        f"a saturated worker: {real.rate.per_s:.2f} segments a second over {real.rate.seconds:.0f} s, "
        f"variation {real.service_cv:.2f}, cold starts {starts} s;\n"
        f"it decodes for {real.decode_s:.2f} s before, beside the device's work: of that the simulator knows nothing"
    )
    latencies = [latency for _, latency in real.latencies]
    rows: list[tuple[str, float, list[float], str]] = [
        ("replica-seconds", real.replica_seconds, [r.replica_hours * 3600 for r in pair.simulated], ".0f"),
        ("of these busy", real.busy_seconds, [r.busy_hours * 3600 for r in pair.simulated], ".0f"),
        ("peak replicas", max(n for _, n in real.timeline), [r.peak_replicas for r in pair.simulated], ".0f"),
        ("starts", real.starts, [r.cold_starts for r in pair.simulated], ".0f"),
        ("latency p50, s", quantile(latencies, 0.50) or 0.0, [r.p50_s for r in pair.simulated], ".2f"),
        ("latency p95, s", quantile(latencies, 0.95) or 0.0, [r.p95_s for r in pair.simulated], ".2f"),
        ("latency p99, s", quantile(latencies, 0.99) or 0.0, [r.p99_s for r in pair.simulated], ".2f"),
        ("lost", real.tally.lost, [r.lost for r in pair.simulated], ".0f"),
    ]
    table = Table("", "real", "simulated", "ratio", "least", "most", box=None, pad_edge=False)
    for name, a, every, form in rows:
        mean = statistics.fmean(every)
        ratio = f"{mean / a:.3f}" if a else ""
        table.add_row(name, f"{a:{form}}", f"{mean:{form}}", ratio, f"{min(every):{form}}", f"{max(every):{form}}")
    out.print(table)
    out.print(
        f"simulated: the mean of {len(pair.simulated)}, of which {pair.matching} decide all as the real one, each "
        "time within a second; below is the median one",
        style="dim",
    )
    out.print(f"\n{'seconds':>8} {'real':>6} {'simulated':>10}", style="dim")
    for at, a, b in merge_timelines(real.timeline, pair.shown.timeline):
        out.print(f"{at:8.1f} {a:6} {b:10}")


def merge_timelines(one: Timeline, other: Timeline) -> Iterator[tuple[float, int, int]]:
    """Yield (seconds, replicas of one, of the other) for each change of either; close changes are merged."""
    changes = sorted([(at, n, 0) for at, n in one] + [(at, n, 1) for at, n in other])
    now = [one[0][1], other[0][1]]
    for i, (at, n, which) in enumerate(changes):
        now[which] = n
        if i + 1 == len(changes) or changes[i + 1][0] - at > MERGE_S:
            yield at, now[0], now[1]


def draw(pairs: Sequence[Pair], path: Path) -> None:
    """Plot arrivals, replicas and latencies: a column for each form."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        3, len(pairs), figsize=(7 * len(pairs), 7), sharex="col", squeeze=False, height_ratios=(1, 2, 2)
    )
    for (above, middle, below), pair in zip(axes.T, pairs, strict=True):
        real, simulated = pair.real, pair.shown
        last = real.seconds
        counts = np.bincount(np.array(real.arrivals, dtype=np.int64), minlength=int(last) + 1)
        above.fill_between(np.arange(len(counts)), counts / real.rate.per_s, step="post", color="#cbd5e1")
        above.set_ylabel("arrivals, in workers")
        above.set_title(f"{pair.form}: simulated / real replica-seconds {pair.ratio:.3f}", loc="left")
        for timeline, name, style in (
            (real.timeline, f"real: {real.replica_seconds:.0f} replica-seconds", {"color": "#00798c", "linewidth": 2}),
            (
                simulated.timeline,
                f"simulated, the median run: {simulated.replica_hours * 3600:.0f}",
                {"color": "#d1495b", "linestyle": "--"},
            ),
        ):
            steps = np.array([*timeline, (max(last, timeline[-1][0]), timeline[-1][1])])
            middle.step(steps[:, 0], steps[:, 1], where="post", label=name, **style)
        middle.set_ylabel("replicas requested")
        middle.legend(loc="upper left", fontsize=8)
        points = np.array(real.latencies)
        if len(points):
            below.plot(points[:, 0], points[:, 1], ".", markersize=2, color="#00798c", label="real")
        for value, name in ((simulated.p50_s, "p50"), (simulated.p95_s, "p95"), (simulated.p99_s, "p99")):
            below.axhline(value, color="#d1495b", linestyle="--", linewidth=0.8)
            below.annotate(f"simulated {name}", (0, value), fontsize=7, color="#d1495b", va="bottom")
        below.set_ylabel("latency, s")
        below.set_xlabel("seconds")
        for each in (above, middle, below):
            each.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


async def main(forms: Sequence[str], pace: Pace) -> None:
    rate, cold_start_s = await calibrate(pace)
    out.print(
        f"a worker does {rate.per_s:.2f} segments a second and can work {cold_start_s:.1f} s after its request; "
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    pairs = []
    for form in forms:
        scaled = fitted(form, rate.per_s, cold_start_s)
        real = await measure(scaled, rate, pace)
        simulated = [simulate(form, scaled, real, seed) for seed in range(SEEDS)]
        pairs.append(Pair(form, real, sorted(simulated, key=lambda r: r.replica_hours)))
        show(pairs[-1])
    with suppress(ImportError):
        draw(pairs, PLOT)
        out.print(f"\nplot in {PLOT}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=("lag", "demand", "both"), default="both")
    parser.add_argument("--pace", type=float, default=PACE_S, help="least seconds for a picture; 0: as fast as it is")
    args = parser.parse_args()
    telemetry.configure(BusSettings(log_level="warning"), "bench")
    asyncio.run(main(("lag", "demand") if args.form == "both" else (args.form,), Pace(args.pace)))
