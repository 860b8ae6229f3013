"""What ingest does with a segment that JetStream refuses for good."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from nats.aio.client import Client

from services.ingest.publisher import Publisher
from services.ingest.segmenter import Piece
from shared import bus
from shared.contract import names
from shared.contract.segment import Segment, to_headers
from shared.runtime.errors import Unstorable
from tidegate.local.server import NatsServer


def piece(*, payload: bytes = b"video", codec: str = "h264") -> Piece:
    start = dt.datetime.now(dt.UTC)
    segment = Segment(
        camera="lobby", epoch="e1", n=0, start=start, duration=1.0, codec=codec, width=64, height=64, frames=5
    )
    return Piece(segment, payload, segment.message_id, start.timestamp())


async def limit_size(admin: Client, most_bytes: int) -> None:
    """Have MEDIA take no larger message."""
    js = admin.jetstream()
    config = (await js.stream_info(names.MEDIA)).config
    config.max_msg_size = most_bytes
    await js.update_stream(config)


REFUSED = {
    "10054: larger than its stream takes": piece(payload=b"x" * 20_000),
    "10097: with more headers than JetStream takes": piece(codec="h" * 70_000),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_a_segment_that_can_never_be_stored_is_given_up_and_the_next_one_goes(
    server: NatsServer, admin: Client, refused: Piece
) -> None:
    await limit_size(admin, 100_000 if refused.size < 10_000 else 10_000)
    publisher = Publisher(admin, admin.jetstream())
    async with asyncio.timeout(20):
        assert await publisher.send(refused, None, lambda: True) is None
        assert await publisher.send(piece(), None, lambda: True) == 1


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_and_so_is_any_other_message(server: NatsServer, admin: Client, refused: Piece) -> None:
    await limit_size(admin, 100_000 if refused.size < 10_000 else 10_000)
    headers = to_headers(refused.segment)
    async with asyncio.timeout(20):
        with pytest.raises(Unstorable):
            await bus.publish(admin, admin.jetstream(), names.media("lobby"), refused.payload, headers)
