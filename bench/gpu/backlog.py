"""The rate of a replica: the real service, in its own process, processes a backlog on a real nats-server.

Its rate counts the segments whose events are stored, by the process's own metrics, as in a cluster. Then segments
arrive at a share of that rate, and the server's clock measures the time from a segment to its event.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import msgspec
from nats.aio.client import Client
from prometheus_client.parser import text_string_to_metric_families

from bench import world
from bench.gpu import plan
from bench.gpu.machine import GpuMonitor, Load
from bench.gpu.plan import Sample
from services.ingest.cutting.piece import Piece
from shared.contract import catalog, names
from shared.contract.events import Detections
from shared.contract.memory import MB
from shared.runtime import child
from shared.runtime.errors import TidegateError
from shared.runtime.ports import free_port
from tidegate.models import capacity

POLL_S = 0.2
# Enough for the first load of a model, which compiles the GPU's kernels and reads files that are not cached.
PATIENCE_S = 300.0
# Maximum size of a backlog on disk.
MOST_BYTES = 4_000_000_000
DELAY_SAMPLES = 200


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a segment's arrival to its event, at `arrivals_s` per second."""

    arrivals_s: float
    count: int
    p50_s: float
    p95_s: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The run of a replica.

    environment: its settings. segments_s, images_s: with a backlog. cores: busy ones. busy: share of time in which its
    device computed. cpu_s: of a core, per segment. objects: mean per frame. first_s: from the process's start to its
    first event. stages: mean seconds of a segment in each. failed: attempts.
    """

    service: str
    environment: dict[str, str]
    count: int
    seconds: float
    segments_s: float
    images_s: float
    cores: float
    busy: float
    memory_mb: float
    first_s: float
    stages: dict[str, float]
    failed: int
    load: Load
    objects: float | None = None
    delay: Delay | None = None

    @property
    def cpu_s(self) -> float:
        return self.cores / self.segments_s


class _Process:
    """A running service. at: the variables of the NATS connection."""

    def __init__(self, service: str, at: Mapping[str, str], folder: Path, environment: Mapping[str, str]) -> None:
        record = catalog.find(service)
        self._service, self._log, self._port = service, folder / f"{service}.log", free_port(0)
        variables = {**at, **record.environment, **environment, "METRICS_PORT": str(self._port), "LOG_LEVEL": "warning"}
        self.began = time.monotonic()
        self._child = child.spawn(child.python(record.module), log=self._log, env={**os.environ, **variables})

    def counters(self) -> dict[str, float]:
        """Return its metrics by name, those of one stage as `<name>/<stage>`; empty while it serves none.

        Raises TidegateError if it has exited.
        """
        if self._child.poll() is not None:
            raise TidegateError(
                f"{self._service} ended with code {self._child.returncode}: {child.last_lines(self._log)}"
            )
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            return {}
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name + (f"/{sample.labels['stage']}" if "stage" in sample.labels else "")
                found[name] = found.get(name, 0.0) + sample.value
        return found

    def end(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(60)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class BacklogTooShort(TidegateError):
    """The backlog ended before it could be measured."""


async def measure(
    service: str, environment: Mapping[str, str], pieces: Sequence[Piece], *, seconds: float, hold: int, device: str
) -> Run:
    """Measure a replica. A first, short run determines the size of the backlog and the time to the first event."""
    few = max(2 * hold, len(pieces))
    most = max(few, MOST_BYTES // (sum(len(p.payload) for p in pieces) // len(pieces)))

    async def over(count: int, load: float) -> Run:
        """Run over `count` segments, or over more if these end too soon."""
        while True:
            try:
                return await _run(service, environment, pieces, count, hold, device, load=load)
            except BacklogTooShort:
                if count >= most:
                    raise
                count = min(most, 4 * count)

    first = await over(few, 0.0)
    run = await over(min(most, max(few, round(first.segments_s * seconds))), capacity.LOAD)
    return msgspec.structs.replace(run, first_s=first.first_s)


async def _run(
    service: str,
    environment: Mapping[str, str],
    pieces: Sequence[Piece],
    count: int,
    hold: int,
    device: str,
    *,
    load: float,
) -> Run:
    """Run one process over `count` segments, then over arrivals at the share `load` of its rate."""
    async with world.serving() as (server, admin, folder):
        await world.fill(admin.jetstream(), islice(cycle(pieces), count), "backlog")
        stored = (await admin.jetstream().stream_info(names.MEDIA)).state.messages
        if stored < count:
            raise TidegateError(f"MEDIA kept {stored} of {count} segments, as the disk is full: set TMPDIR to another")
        process = _Process(service, server.environment(service), folder, environment)
        try:
            with GpuMonitor(device) as monitor:
                samples = await _until_done(process, count, monitor)
            part = plan.steady(samples, count, hold)
            if part is None:
                raise BacklogTooShort(f"{service} did {count} segments before two samples: give --seconds")
            run = _summarize(service, environment, count, part, process, samples, monitor)
            delay = await _paced(admin, service, pieces, load * run.segments_s, run.seconds) if load else None
            objects = await _objects(admin) if service == "cv" else None
            return msgspec.structs.replace(run, delay=delay, objects=objects)
        finally:
            await asyncio.to_thread(process.end)


async def _until_done(process: _Process, count: int, monitor: GpuMonitor) -> list[Sample]:
    samples: list[Sample] = []
    while not samples or samples[-1].done < count:
        found = await asyncio.to_thread(process.counters)
        now = time.monotonic()
        samples.append(
            Sample(
                at_s=now,
                done=int(found.get("tidegate_segments_out_total", 0)),
                images=found.get("tidegate_items_total", 0.0),
                cpu_s=found.get("process_cpu_seconds_total", 0.0),
                busy_s=found.get("tidegate_busy_seconds_total", 0.0),
                memory_mb=found.get("process_resident_memory_bytes", 0.0) / MB,
                polls=monitor.polls,
            )
        )
        moved = next(s.at_s for s in samples if s.done == samples[-1].done)
        if now - moved > PATIENCE_S:
            raise TidegateError(
                f"nothing came of the backlog for {PATIENCE_S:.0f} s, after {samples[-1].done} of {count}"
            )
        await asyncio.sleep(POLL_S)
    return samples


def _summarize(
    service: str,
    environment: Mapping[str, str],
    count: int,
    part: plan.Steady,
    process: _Process,
    samples: Sequence[Sample],
    monitor: GpuMonitor,
) -> Run:
    found = process.counters()
    stages = {
        stage: found.get(f"tidegate_stage_seconds_sum/{stage}", 0.0)
        / max(1.0, found.get(f"tidegate_stage_seconds_count/{stage}", 0.0))
        for stage in ("prepare", "infer", "publish")
    }
    return Run(
        service=service,
        environment=dict(environment),
        count=count,
        seconds=part.seconds,
        segments_s=part.segments_s,
        images_s=part.images_s,
        cores=part.cores,
        busy=part.busy,
        memory_mb=max(s.memory_mb for s in samples),
        first_s=next(s.at_s for s in samples if s.done) - process.began,
        stages=stages,
        failed=int(found.get("tidegate_failed_total", 0)),
        load=monitor.load(part.first.polls, part.last.polls),
    )


async def _paced(admin: Client, service: str, pieces: Sequence[Piece], rate: float, seconds: float) -> Delay:
    """Publish segments at an even rate. Return the delays between each segment and its event."""
    js = admin.jetstream()
    last = (await js.stream_info(names.EVENTS)).state.last_seq
    count = max(10, round(rate * seconds))
    began = asyncio.get_running_loop().time()
    for n, piece in enumerate(islice(cycle(pieces), count)):
        await asyncio.sleep(max(0.0, began + n / rate - asyncio.get_running_loop().time()))
        await world.publish(js, piece, epoch="paced", n=n)
    arrivals = count / (asyncio.get_running_loop().time() - began)
    await world.acknowledged(js, names.MEDIA, service)
    end = (await js.stream_info(names.EVENTS)).state.last_seq
    delays = []
    for seq in range(last + 1, end + 1, max(1, (end - last) // DELAY_SAMPLES)):
        event = await js.get_msg(names.EVENTS, seq)
        segment = await js.get_msg(names.MEDIA, msgspec.json.decode(event.data or b"", type=_OfSegment).segment.seq)
        assert event.time and segment.time
        delays.append((event.time - segment.time).total_seconds())
    delays.sort()
    return Delay(
        arrivals_s=arrivals,
        count=len(delays),
        p50_s=statistics.median(delays),
        p95_s=delays[min(len(delays) - 1, round(0.95 * len(delays)))],
    )


class _Ref(msgspec.Struct, frozen=True):
    seq: int


class _OfSegment(msgspec.Struct, frozen=True):
    """The common part of events of cv and embed."""

    segment: _Ref


async def _objects(admin: Client) -> float:
    """Return the mean number of objects per frame in the last events."""
    js = admin.jetstream()
    end = (await js.stream_info(names.EVENTS)).state.last_seq
    found = []
    for seq in range(max(1, end - 20), end + 1):
        event = msgspec.json.decode((await js.get_msg(names.EVENTS, seq)).data or b"", type=Detections)
        found += [len(frame.objects) for frame in event.frames]
    return statistics.fmean(found) if found else 0.0
