"""A worker with consumers of two streams."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy

from shared import bus
from shared.runtime.backoff import Backoff
from shared.runtime.telemetry import Health
from shared.worker import Worker, WorkerSettings
from shared.worker.tuning import Tuning
from tests.support.processes.cv_worker import until_drained
from tests.support.processes.echo_service import (
    Echo,
    Job,
    head,
    letters,
    publish,
    shorten,
)
from tests.support.waiting import until
from tidegate.local.server import NatsServer


@contextlib.asynccontextmanager
async def working_on_two(
    server: NatsServer, admin: Client, service: Echo, *, ack_wait: tuple[float, float], max_deliver: tuple[int, int]
) -> AsyncIterator[asyncio.Event]:
    """A worker over `cv` of MEDIA and, less urgent, `cv-later` of a stream of its own."""
    js = admin.jetstream()
    await js.add_stream(name="LATER", subjects=["later.cv.>"], retention=RetentionPolicy.WORK_QUEUE)
    await shorten(admin, ack_wait=ack_wait[0], max_deliver=max_deliver[0])
    later = ConsumerConfig(
        durable_name="cv-later", ack_policy=AckPolicy.EXPLICIT, ack_wait=ack_wait[1], max_deliver=max_deliver[1]
    )
    await js.add_consumer("LATER", later)
    client = await bus.connect(server.settings("admin"), "admin")
    tuning = Tuning(retry=Backoff(first_s=0.05, longest_s=0.05))
    consumers = [("MEDIA", "cv"), ("LATER", "cv-later")]
    settings = WorkerSettings(batch_size=1, batch_wait_s=0, hold=8)
    worker = Worker(client, service, settings, Health(), consumers=consumers, tuning=tuning)
    async with until_drained(client, worker) as stop:
        yield stop


async def publish_deferred(client: Client, texts: Sequence[str]) -> None:
    for n, text in enumerate(texts):
        await client.jetstream().publish("later.cv.lobby", text.encode(), headers=head(100 + n))


async def ids(client: Client) -> list[str]:
    """ce-id of each event, in the order of EVENTS."""
    js = client.jetstream()
    state = (await js.stream_info("EVENTS")).state
    found = [await js.get_msg("EVENTS", seq, direct=True) for seq in range(state.first_seq, state.last_seq + 1)]
    return [(m.headers or {})["ce-id"] for m in found]


class Gated(Echo):
    """As Echo, its device waiting for `gate`; not for ever, as a test that fails must end too."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def infer(self, batch: Sequence[Job]) -> list[str]:
        self.gate.wait(100)
        return super().infer(batch)


async def test_each_consumer_of_two_streams_is_extended_by_its_own_ack_wait(server: NatsServer, admin: Client) -> None:
    beats = {"MEDIA": 0, "LATER": 0}
    held = {"MEDIA": 0, "LATER": 0}
    service = Gated()

    async def heard(message: Msg) -> None:
        if message.data == Msg.Ack.Progress:
            beats[message.subject.split(".")[2]] += 1

    async with working_on_two(server, admin, service, ack_wait=(600.0, 1.0), max_deliver=(5, 5)):
        await admin.subscribe("$JS.ACK.>", cb=heard)
        seqs = await publish(admin, ["a"])
        await publish_deferred(admin, ["b", "c"])
        await until(lambda: beats["LATER"] >= 6)
        for stream, consumer in (("MEDIA", "cv"), ("LATER", "cv-later")):
            held[stream] = (await admin.jetstream().consumer_info(stream, consumer)).num_ack_pending
        assert beats["MEDIA"] == 0, "two hundred seconds have not passed"
        service.gate.set()
        await until(lambda: len(service.batches) == 3)
    assert held == {"MEDIA": 1, "LATER": 2}
    assert sorted(service.prepared) == ["a", "b", "c"], "none was delivered twice"
    assert sorted(await ids(admin)) == ["cv/echo/LATER/1", "cv/echo/LATER/2", f"cv/echo/MEDIA/{seqs[0]}"]


async def test_each_consumer_of_two_streams_has_its_own_delivery_limit(server: NatsServer, admin: Client) -> None:
    service = Echo(fail=lambda text, tries: OSError("never"))
    async with working_on_two(server, admin, service, ack_wait=(30.0, 30.0), max_deliver=(4, 2)):
        await publish(admin, ["a"])
        await publish_deferred(admin, ["b"])
        await until(lambda: len(service.prepared) == 6)
    assert sorted((x.stream, x.deliveries) for x in await letters(admin)) == [("LATER", 2), ("MEDIA", 4)]


async def test_a_drain_finishes_final_deliveries_of_each_stream(server: NatsServer, admin: Client) -> None:
    service = Echo(infer_s=0.2)
    async with working_on_two(server, admin, service, ack_wait=(300.0, 300.0), max_deliver=(5, 1)) as stop:
        await publish_deferred(admin, ["x", "y"])
        await publish(admin, ["a", "b", "c", "d", "e"])
        await until(lambda: len(service.prepared) >= 2)
        stop.set()
    done = await ids(admin)
    assert {"cv/echo/LATER/1", "cv/echo/LATER/2"} <= set(done)
    media = await admin.jetstream().consumer_info("MEDIA", "cv")
    assert media.num_pending + media.num_ack_pending == 7 - len(done) > 0, "the others were handed back"
    assert await letters(admin) == []


async def test_the_first_stream_overtakes_the_second(server: NatsServer, admin: Client) -> None:
    service = Gated()
    async with working_on_two(server, admin, service, ack_wait=(30.0, 30.0), max_deliver=(5, 5)):
        await publish_deferred(admin, [f"d{n}" for n in range(6)])
        await until(lambda: len(service.prepared) >= 2)
        await publish(admin, ["urgent"])
        await until(lambda: "urgent" in service.prepared)
        service.gate.set()
        await until(lambda: len(service.batches) == 7)
    # One batch of the second stream may be on the device already, and the most urgent has a slot of its own.
    assert ["urgent"] in service.batches[:2]
