"""The publisher of ingest with a permanently refused segment, and with a distant server."""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec
import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.ingest.delivery.camera_delivery import CameraDelivery
from services.ingest.delivery.outbox import Outboxes
from services.ingest.delivery.publisher import Publisher
from shared import bus
from shared.contract import names
from shared.contract.segment import Segment, to_headers
from shared.runtime.errors import Unstorable
from shared.runtime.tasks import end
from tests.support.waiting import patience_s, until
from tidegate.chaos.network_proxy import Carry, NetworkProxy, Reader
from tidegate.local.server import NatsServer


def piece(*, payload: bytes = b"video", codec: str = "h264", camera: str = "lobby", n: int = 0) -> Piece:
    start = dt.datetime.now(dt.UTC)
    segment = Segment(
        camera=camera, epoch="e1", n=n, start=start, duration=1.0, codec=codec, width=64, height=64, frames=5
    )
    return Piece(segment, payload, segment.message_id, start.timestamp())


async def limit_size(admin: Client, most_bytes: int) -> None:
    """Limit the message size of MEDIA."""
    js = admin.jetstream()
    config = (await js.stream_info(names.MEDIA)).config
    config.max_msg_size = most_bytes
    await js.update_stream(config)


REFUSED = {
    "10054: larger than its stream takes": piece(payload=b"x" * 20_000),
    "10097: with more headers than JetStream takes": piece(codec="h" * 70_000),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_an_unstorable_segment_is_dropped_and_the_next_is_published(
    server: NatsServer, admin: Client, refused: Piece
) -> None:
    await limit_size(admin, 100_000 if refused.size < 10_000 else 10_000)
    publisher = Publisher(admin, admin.jetstream())
    async with asyncio.timeout(patience_s()):
        assert await publisher.send(refused, None, lambda: True) is None
        assert await publisher.send(piece(), None, lambda: True) == 1


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_any_other_unstorable_message_is_dropped(server: NatsServer, admin: Client, refused: Piece) -> None:
    await limit_size(admin, 100_000 if refused.size < 10_000 else 10_000)
    headers = to_headers(refused.segment)
    async with asyncio.timeout(patience_s()):
        with pytest.raises(Unstorable):
            await bus.publish(admin, admin.jetstream(), names.media("lobby"), refused.payload, headers)


def gated(flows: asyncio.Event) -> Carry:
    """Block all traffic until the event is set."""

    async def carry(reader: Reader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await flows.wait()
            writer.write(data)
            await writer.drain()

    return carry


async def stored(admin: Client) -> int:
    return (await admin.jetstream().stream_info(names.MEDIA)).state.messages


async def test_no_camera_waits_for_the_acknowledgement_of_another(server: NatsServer, admin: Client) -> None:
    """As with a distant server: sequential cameras would take one round trip each."""
    cameras, rounds, size = 80, 4, 10_000
    left: list[int] = []
    answers = asyncio.Event()
    answers.set()
    async with NetworkProxy(server.url, back=gated(answers)) as way:
        client = await bus.connect(msgspec.structs.replace(server.settings("admin"), nats_url=way.url), "admin")
        publisher = Publisher(client, client.jetstream())
        outboxes = Outboxes(1 << 30)
        deliveries = [
            CameraDelivery(f"cam{n}", publisher, outboxes, rounds * size, lambda: True, lambda: left.append(1))
            for n in range(cameras)
        ]
        answers.clear()
        running = [asyncio.create_task(delivery.run()) for delivery in deliveries]
        for n in range(rounds):
            for camera, delivery in enumerate(deliveries):
                delivery.put(piece(payload=b"x" * size, camera=f"cam{camera}", n=n))
        async with asyncio.timeout(patience_s()):
            while await stored(admin) < cameras:
                await asyncio.sleep(0.05)
        assert not left, "no answer has come"
        answers.set()
        await until(lambda: len(left) == cameras * rounds)
        await end(*running)
        await client.close()
    assert await stored(admin) == cameras * rounds, "each camera's buffer holds four segments, and it was enough"
