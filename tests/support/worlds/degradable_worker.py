"""A worker that defers work, and waits for its results."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client
from prometheus_client import REGISTRY

from shared import bus
from shared.contract import events
from shared.contract.events import Detections, Timing
from shared.contract.work import backfill
from shared.runtime.telemetry import Health
from shared.worker import Message, Worker, WorkerSettings
from shared.worker.tuning import Tuning
from tests.support.processes import service
from tests.support.processes.cv_worker import until_drained
from tests.support.processes.echo_service import Echo, Job, publish
from tests.support.waiting import patience_s, until
from tests.support.worlds.backfill import LOW
from tidegate.local.server import NatsServer

TUNING = Tuning(quiet_s=0.05, spare_wait_s=0.2, poll_s=0.01, blind_s=1.0)


class DegradableEcho(Echo):
    """As Echo. It degrades messages that begin with `low`, except in their backfill."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)  # type: ignore[arg-type]
        self.again: list[Message] = []

    async def prepare(self, message: Message) -> Job:
        job = await super().prepare(message)
        if message.revises:
            self.again.append(message)
            job.text = f"all of {job.text}"
        return job

    def event(self, message: Message, prepared: Job, result: str) -> Detections:
        event = super().event(message, prepared, result)
        return replace(event, quality=LOW) if result.startswith("low") else event


@contextlib.asynccontextmanager
async def degradable_worker(
    server: NatsServer, service: Echo, tuning: Tuning = TUNING, **settings: object
) -> AsyncIterator[asyncio.Event]:
    client = await bus.connect(server.settings("cv"), "cv")
    worker = Worker(
        client,
        service,
        msgspec.convert({"batch_size": 4, "hold": 8, **settings}, WorkerSettings),
        Health(),
        consumers=[("MEDIA", "cv")],
        backfill="cv-backfill",
        tuning=tuning,
    )
    async with until_drained(client, worker) as stop:
        yield stop


async def settled(admin: Client) -> None:
    await service.settled(admin, "MEDIA", "cv")
    await service.settled(admin, "BACKFILL", "cv-backfill")


def counted(result: str) -> float:
    labels = {"service": "cv", "result": result}
    return REGISTRY.get_sample_value("tidegate_backfill_jobs_total", labels) or 0.0


def frames_never() -> float:
    """Return the frames of cv that no replica will analyse any more."""
    return REGISTRY.get_sample_value("tidegate_frames_never_analysed_total", {"service": "cv"}) or 0.0


class Gated(DegradableEcho):
    """Its device waits for `gate` with urgent work; not for ever, because a failing test must end too."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def infer(self, batch: Sequence[Job]) -> list[str]:
        if not any(job.text.startswith("all of") for job in batch):
            self.gate.wait(100)
        return super().infer(batch)


@contextlib.asynccontextmanager
async def busy(server: NatsServer, admin: Client, tuning: Tuning = TUNING) -> AsyncIterator[tuple[Gated, int]]:
    """A worker with urgent work on its device, and a deferred segment in flight; the segment's sequence."""
    service = Gated()
    (seq,) = await publish(admin, ["urgent"])
    async with degradable_worker(server, service, tuning, batch_size=1):
        await until(lambda: "urgent" in service.prepared)
        await put_off(admin, seq)
        while (await admin.jetstream().consumer_info("BACKFILL", "cv-backfill")).num_ack_pending != 1:
            await asyncio.sleep(0.02)
        try:
            yield service, seq
        finally:
            service.gate.set()


async def two_beats(admin: Client) -> None:
    """Wait for two heartbeats of the worker: this is enough time for a wrong action."""
    beats = await admin.subscribe("scale.cv.>")
    for _ in range(2):
        await beats.next_msg(timeout=patience_s())
    await beats.unsubscribe()


async def put_off(admin: Client, seq: int) -> None:
    job = backfill.job_of(first_of(seq), f"cv/echo/MEDIA/{seq}", stream="MEDIA", seq=seq)
    await admin.jetstream().publish("jobs.cv.backfill.lobby", backfill.encode(job))


def first_of(seq: int) -> Detections:
    return Detections(
        camera="lobby",
        segment=events.SegmentRef(stream="MEDIA", seq=seq, epoch="e", n=1),
        start=NOW,
        duration=1.0,
        model="echo",
        frames=[],
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
        quality=LOW,
    )


NOW = events.dt.datetime(2026, 11, 24, 13, 0, tzinfo=events.dt.UTC)
