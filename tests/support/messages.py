"""Messages taken from the consumer `cv`, by no worker."""

from __future__ import annotations

from nats.aio.client import Client

from shared.contract import names


async def consume(client: Client, count: int) -> None:
    """Take and acknowledge `count` messages."""
    consumer = await client.jetstream().pull_subscribe_bind("cv", names.MEDIA)
    while count:
        for message in await consumer.fetch(count, timeout=5):
            await message.ack_sync()
            count -= 1
