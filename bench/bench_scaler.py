"""The external scaler under a thousand ScaledObjects: its CPU, and its push latency for a first message.

The last row is the local autoscaler's latency, from the same message to the start of a worker.

    python -m bench.bench_scaler [seconds] [wake-ups]

Each ScaledObject polls as in KEDA: GetMetrics and IsActive every pollingInterval (30 s) and, for the HPA, every 15 s;
StreamIsActive and StreamMetricSpec stay open. All share one connection, as in KEDA.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import psutil
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from rich.console import Console
from rich.table import Table

from bench import record, world
from bench.processor import cpu_s
from services.scaler import externalscaler_pb2 as pb
from services.scaler.external_scaler import NAME
from services.scaler.live.live_metrics import MOST_QUERIES
from shared import bus
from shared.client.rates import quantile
from shared.contract import names
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime import telemetry
from shared.runtime.settings import BusSettings
from shared.runtime.tasks import end
from tidegate.local.scaling import scaled_objects
from tidegate.local.scaling.autoscaler import Autoscaler, observing
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

OBJECTS = 1000
HPA_S = 15.0
POLL_S = 30.0
# Segments per second while CPU is measured, so that no consumer is idle.
ARRIVALS = 20.0
WORKERS = 50
WARM_S = 5.0
TARGET_CORES = 0.3
TARGET_P99_S = 0.1
TARGET_PUSH_S = 0.2
IDLE_WORKER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


class Keda:
    """The calls of KEDA's operator for one ScaledObject, without its decisions."""

    def __init__(self, channel: grpc.aio.Channel, n: int, consumer: str) -> None:
        def unary(method: str, answer: Any) -> Any:
            return channel.unary_unary(f"/{NAME}/{method}", _write, answer.FromString)

        def stream(method: str, answer: Any) -> Any:
            return channel.unary_stream(f"/{NAME}/{method}", _write, answer.FromString)

        self._metrics = unary("GetMetrics", pb.GetMetricsResponse)
        self._active = unary("IsActive", pb.IsActiveResponse)
        self._stream_active = stream("StreamIsActive", pb.IsActiveResponse)
        self._stream_spec = stream("StreamMetricSpec", pb.GetMetricSpecResponse)
        metadata = {"service": "cv", "consumer": consumer, "scalerAddress": "scaler:9090"}
        self._ref = pb.ScaledObjectRef(name=f"object-{n}", namespace="bench", scalerMetadata=metadata)
        self.active: bool | None = None
        self.changed_at = 0.0
        self.waits: list[float] = []
        self.active_waits: list[float] = []
        self.errors = 0

    async def keep_streams(self) -> None:
        specs = self._stream_spec(self._ref)
        while True:
            try:
                await specs.read()
                async for answer in self._stream_active(self._ref):
                    self.active, self.changed_at = answer.result, time.monotonic()
            except grpc.RpcError:
                self.errors += 1
            await asyncio.sleep(2.0)

    async def poll(self, every_s: float) -> None:
        await asyncio.sleep(random.uniform(0, every_s))
        while True:
            started = time.monotonic()
            try:
                await self._metrics(pb.GetMetricsRequest(scaledObjectRef=self._ref, metricName="demand"))
                answered = time.monotonic()
                self.waits.append(answered - started)
                await self._active(self._ref)
                self.active_waits.append(time.monotonic() - answered)
            except grpc.RpcError:
                self.errors += 1
            await asyncio.sleep(max(0.0, started + every_s - time.monotonic()))


def _write(message: Any) -> bytes:
    return message.SerializeToString()  # type: ignore[no-any-return]


@asynccontextmanager
async def scaler(server: NatsServer, folder: Path) -> AsyncIterator[tuple[psutil.Process, str]]:
    """Run `python -m services.scaler`. Yield the process and its address."""
    log = folder / "scaler.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.scaler"],
            env=os.environ | server.environment("scaler") | {"SCALER_PORT": "0", "SCALER_HTTP_PORT": "0"},
            stderr=output,
        )
    try:
        while not (ready := re.search(r"address=(\S+:\d+)", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            await asyncio.sleep(0.05)
        yield psutil.Process(process.pid), ready[1]
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@asynccontextmanager
async def connected(address: str, consumers: list[str], polled: bool = True) -> AsyncIterator[list[Keda]]:
    """Yield a ScaledObject for each of `consumers`, once every stream has received its first state."""
    async with grpc.aio.insecure_channel(address) as channel:
        objects = [Keda(channel, n, consumer) for n, consumer in enumerate(consumers)]
        tasks = [asyncio.create_task(o.keep_streams()) for o in objects]
        if polled:
            tasks += [asyncio.create_task(o.poll(s)) for o in objects for s in (HPA_S, POLL_S)]
        while any(o.active is None for o in objects):
            await asyncio.sleep(0.05)
        try:
            yield objects
        finally:
            await end(*tasks)


async def publish_segments(client: Client) -> None:
    while True:
        await client.jetstream().publish(names.media("bench"), bytes(1000))
        await asyncio.sleep(1 / ARRIVALS)


async def beat(client: Client) -> None:
    """Publish the heartbeats of a large fleet: each worker processes ten segments per second."""
    for done in itertools.count(0, 10):
        for n in range(WORKERS):
            heartbeat = WorkerStats(
                service="cv", replica=f"cv-{n}", pid=1, state="ready", model="m", uptime_s=float(done), in_flight=1,
                processed=done, failed=0, items=done, busy_s=done / 10, working_s=done / 10,
            )  # fmt: skip
            await client.publish(names.stats("cv", heartbeat.replica), stats.encode(heartbeat))
        await asyncio.sleep(1)


async def load(server: NatsServer, admin: Client, folder: Path, consumers: list[str], seconds: float) -> list[str]:
    async with scaler(server, folder) as (process, address), connected(address, consumers) as objects:
        worker = await bus.connect(server.settings("cv"), "cv")
        background = [asyncio.create_task(publish_segments(admin)), asyncio.create_task(beat(worker))]
        await asyncio.sleep(WARM_S)
        for each in objects:
            each.waits.clear()
            each.active_waits.clear()
        broker = psutil.Process(server.pid)
        cpu_before, broker_before, started = cpu_s(process), cpu_s(broker), time.monotonic()
        await asyncio.sleep(seconds)
        elapsed = time.monotonic() - started
        cores, broker_cores = (cpu_s(process) - cpu_before) / elapsed, (cpu_s(broker) - broker_before) / elapsed
        memory = process.memory_info().rss / 1024**2
        await end(*background)
        await worker.close()
        waits = [w for o in objects for w in o.waits]
        active_waits = [w for o in objects for w in o.active_waits]
        errors = sum(o.errors for o in objects)
    await admin.jetstream().purge_stream(names.MEDIA)
    is_met = cores <= TARGET_CORES and (quantile(waits, 0.99) or 0.0) <= TARGET_P99_S and not errors
    return [
        f"{cores:.2f}",
        f"{broker_cores:.2f}",
        f"{memory:.0f}",
        f"{2 * len(waits) / elapsed:.0f}",
        *(f"{(quantile(each, q) or 0.0) * 1000:.1f}" for each in (waits, active_waits) for q in (0.5, 0.99)),
        str(errors),
        "yes" if is_met else "NO",
    ]


async def idle_consumers(admin: Client, prefix: str, times: int) -> list[str]:
    """Create a consumer for each wake, with its own subject, because a busy one stays active for a while."""
    consumers = [f"{prefix}-{n}" for n in range(times)]
    for consumer in consumers:
        mine = ConsumerConfig(
            durable_name=consumer, filter_subject=names.media(consumer), ack_policy=AckPolicy.EXPLICIT
        )
        await admin.jetstream().add_consumer(names.MEDIA, mine)
    return consumers


def wakes(waits: list[float]) -> list[str]:
    found = [quantile(waits, q) or 0.0 for q in (0.5, 0.9, 1.0)]
    return [*(f"{w * 1000:.1f}" for w in found), "yes" if found[-1] <= TARGET_PUSH_S else "NO"]


async def wake(server: NatsServer, admin: Client, folder: Path, streams: int, times: int) -> list[str]:
    """Measure from the publication of a first message to the last push on an idle consumer's streams."""
    js = admin.jetstream()
    waits = []
    idle = await idle_consumers(admin, f"wake-{streams}", times)
    async with scaler(server, folder) as (_, address):
        for consumer in idle:
            async with connected(address, [consumer] * streams, polled=False) as objects:
                # A random time between two polls.
                await asyncio.sleep(random.uniform(0.5, 1.5))
                started = time.monotonic()
                await js.publish(names.media(consumer), b"first")
                while not all(o.active for o in objects):
                    await asyncio.sleep(0.001)
                waits.append(max(o.changed_at for o in objects) - started)
    return wakes(waits)


async def wake_local(admin: Client, folder: Path, times: int) -> list[str]:
    """Measure from the publication of a first message to the local autoscaler's start of a worker."""
    shipped = scaled_objects.scaled_object("cv")
    # Without the fallback trigger, which counts the messages of every wake.
    demand = msgspec.structs.replace(shipped, triggers=shipped.triggers[:1])
    idle = await idle_consumers(admin, "wake-local", times)
    pools = [Replicas("cv", IDLE_WORKER, {}, folder) for _ in idle]
    waits = []
    async with observing(admin) as live_metrics:
        tasks = [
            asyncio.create_task(
                Autoscaler(live_metrics, scaled_objects.with_query(demand, consumer=consumer), pool).run()
            )
            for consumer, pool in zip(idle, pools, strict=True)
        ]
        await asyncio.sleep(WARM_S)
        for consumer, pool in zip(idle, pools, strict=True):
            # A random time between two polls.
            await asyncio.sleep(random.uniform(0.0, demand.spec.polling_interval))
            started = time.monotonic()
            await admin.jetstream().publish(names.media(consumer), b"first")
            while not pool.count:
                await asyncio.sleep(0.001)
            waits.append(time.monotonic() - started)
        await end(*tasks)
    await asyncio.gather(*(pool.close() for pool in pools))
    return wakes(waits)


async def at_work(
    server: NatsServer, admin: Client, folder: Path, seconds: float, out: Console
) -> tuple[list[str], list[str]]:
    """Return the rows of `load`: the most consumers that the scaler answers for, and one for all."""
    js = admin.jetstream()
    many = [f"bench-{n}" for n in range(MOST_QUERIES)]
    for consumer in many:
        await js.add_consumer(names.MEDIA, ConsumerConfig(durable_name=consumer, ack_policy=AckPolicy.EXPLICIT))
    spread = await load(server, admin, folder, [many[n % len(many)] for n in range(OBJECTS)], seconds)
    for consumer in many:
        await js.delete_consumer(names.MEDIA, consumer)
    single = await load(server, admin, folder, ["cv"] * OBJECTS, seconds)
    waits = "GetMetrics p50 ms", "p99 ms", "IsActive p50 ms", "p99 ms"
    measured = "scaler's cores", "broker's cores", "MB", "calls/s", *waits, "errors"
    limit = f"≤ {TARGET_CORES:g} core, {TARGET_P99_S * 1000:.0f} ms"
    table = Table(f"{OBJECTS} ScaledObjects", *measured, limit)
    table.add_row(f"on {MOST_QUERIES} consumers", *spread)
    table.add_row("on one consumer", *single)
    out.print(f"over {seconds:.0f} s, {ARRIVALS:.0f} segments a second arriving and {WORKERS} workers heard")
    out.print(table)
    return spread, single


async def from_idle(
    server: NatsServer, admin: Client, folder: Path, times: int, out: Console
) -> tuple[list[str], list[str], list[str]]:
    """Return the rows of `wake`, one stream on an idle consumer and OBJECTS streams, and that of `wake_local`."""
    one, every = [await wake(server, admin, folder, streams, times) for streams in (1, OBJECTS)]
    table = Table("streams on an idle consumer", "p50 ms", "p90 ms", "most ms", f"≤ {TARGET_PUSH_S * 1000:.0f} ms")
    table.add_row("1", *one)
    table.add_row(str(OBJECTS), *every)
    local = await wake_local(admin, folder, times)
    table.add_row("the local autoscaler", *local)
    out.print(f"from publishing a first segment to the last stream's push, or a worker's start, {times} times")
    out.print(table)
    return one, every, local


async def main(seconds: float, times: int, out: Console) -> None:
    telemetry.configure(BusSettings(log_level="warning"), "bench")
    async with world.serving() as (server, admin, folder):
        spread, single = await at_work(server, admin, folder, seconds, out)
        one, every, local = await from_idle(server, admin, folder, times, out)
    record.write(
        "scaler",
        lower={
            "scaler's cores / broker's": float(spread[0]) / max(0.01, float(spread[1])),
            f"p50 of a wake, {OBJECTS} streams / one": float(every[0]) / max(0.1, float(one[0])),
        },
        figures={
            "scaler's cores": float(spread[0]),
            "GetMetrics p99 ms": float(spread[5]),
            "scaler's cores, one consumer": float(single[0]),
            f"a wake of {OBJECTS} streams, most ms": float(every[2]),
            "a wake of the local autoscaler, most ms": float(local[2]),
        },
    )


if __name__ == "__main__":
    arguments = [float(a) for a in sys.argv[1:]] + [30.0, 30.0][len(sys.argv) - 1 :]
    asyncio.run(main(arguments[0], int(arguments[1]), Console(width=120)))
