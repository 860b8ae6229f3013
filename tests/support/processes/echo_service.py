"""A service for tests of the worker loop: its messages name their own outcome. Helpers run and count it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from shared import bus
from shared.client import dlq
from shared.contract import names
from shared.contract.events import Detections, SegmentRef, Timing
from shared.contract.segment import Segment, from_headers, to_headers
from shared.runtime.errors import Away
from shared.runtime.telemetry import Health
from shared.worker import Message, Worker, WorkerSettings
from tests.support.processes import service
from tests.support.processes.cv_worker import segment_head, until_drained
from tidegate.local.server import NatsServer


@dataclass
class Job:
    segment: Segment
    text: str
    weight: int = 1


@dataclass
class Echo:
    """A service whose messages name their own outcome."""

    name: str = "cv"
    model: str = "echo"
    infer_s: float = 0.0
    prepare_s: float = 0.0
    batches: list[list[str]] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    fail: Callable[[str, int], Exception | None] = lambda text, tries: None

    async def prepare(self, message: Message) -> Job:
        head = from_headers(message.headers)
        text = message.data.decode()
        self.prepared.append(text)
        await asyncio.sleep(self.prepare_s)
        if error := self.fail(text, self.prepared.count(text)):
            raise error
        return Job(head, text)

    def infer(self, batch: Sequence[Job]) -> list[str]:
        time.sleep(self.infer_s)
        self.batches.append([job.text for job in batch])
        if any(job.text == "poison" for job in batch):
            raise RuntimeError("the device refused")
        return [job.text for job in batch]

    def event(self, message: Message, prepared: Job, result: str) -> Detections:
        s = prepared.segment
        ref = SegmentRef(stream=message.stream, seq=message.seq, epoch=s.epoch, n=s.n)
        timing = Timing(queued_ms=0, decode_ms=0, infer_ms=0)
        return Detections(
            camera=s.camera, segment=ref, start=s.start, duration=1, model=result, frames=[], timing=timing
        )

    def frame_times(self, prepared: Job) -> list[float]:
        return [prepared.segment.start.timestamp()]


def head(n: int, camera: str = "lobby") -> dict[str, str]:
    return to_headers(segment_head(n, camera=camera))


async def publish(client: Client, texts: Sequence[str], first: int = 0) -> list[int]:
    js = client.jetstream()
    return [
        (await js.publish(names.media("lobby"), text.encode(), headers=head(first + i))).seq
        for i, text in enumerate(texts)
    ]


@contextlib.asynccontextmanager
async def working(server: NatsServer, service: Echo, **settings: object) -> AsyncIterator[asyncio.Event]:
    """A worker that runs as the identity `cv`, with its few rights, and is drained at the end."""
    client = await bus.connect(server.settings("cv"), "cv")
    worker = Worker(
        client,
        service,
        msgspec.convert({"batch_size": 4, "hold": 8, **settings}, WorkerSettings),
        Health(),
        consumers=[("MEDIA", "cv")],
    )
    async with until_drained(client, worker) as stop:
        yield stop


async def settled(client: Client) -> None:
    await service.settled(client, "MEDIA", "cv")


async def results(client: Client) -> list[int]:
    """MEDIA sequences of all detections events, in the order of EVENTS."""
    js = client.jetstream()
    state = (await js.stream_info("EVENTS")).state
    found = [await js.get_msg("EVENTS", seq, direct=True) for seq in range(state.first_seq, state.last_seq + 1)]
    return [msgspec.json.decode(m.data or b"", type=Detections).segment.seq for m in found]


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


async def shorten(client: Client, **changes: float) -> None:
    """Shorten the consumer's ack wait, so that tests are short too."""
    js = client.jetstream()
    config = (await js.consumer_info("MEDIA", "cv")).config
    await js.delete_consumer("MEDIA", "cv")
    await js.add_consumer(
        "MEDIA",
        ConsumerConfig(
            durable_name="cv",
            filter_subject="media.>",
            ack_policy=config.ack_policy,
            ack_wait=changes.get("ack_wait", 10.0),
            max_deliver=int(changes.get("max_deliver", 5)),
        ),
    )


class Served(Echo):
    """As Echo, its device a server: `infer` is a coroutine, and waits for `gate`."""

    def __init__(self, **fields: object) -> None:
        super().__init__(name="vlm", **fields)  # type: ignore[arg-type]
        self.gate = asyncio.Event()
        self.at_once = self.most = 0
        self.done: list[str] = []

    async def infer(self, batch: Sequence[Job]) -> list[str]:  # type: ignore[override]
        (job,) = batch
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.gate.wait()
            await asyncio.sleep(0.01)
            if job.text == "away":
                raise Away("the server is gone")
            self.done.append(job.text)
            return [job.text]
        finally:
            self.at_once -= 1


@contextlib.asynccontextmanager
async def serving_jobs(server: NatsServer, service: Served, slots: int = 3) -> AsyncIterator[asyncio.Event]:
    client = await bus.connect(server.settings("admin"), "admin")
    settings = WorkerSettings(batch_size=1, batch_wait_s=0, slots=slots, threads=slots, hold=8)
    worker = Worker(client, service, settings, Health(), consumers=names.VLM_WORK)
    async with until_drained(client, worker) as stop:
        yield stop


async def publish_job(client: Client, kind: str, text: str, n: int) -> None:
    await client.jetstream().publish(names.job(kind, "lobby"), text.encode(), headers=head(n))
