"""Subscriptions of core NATS that last as long as a block."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg


@contextlib.asynccontextmanager
async def subscribed(client: Client, callbacks: Mapping[str, Callable[[Msg], Awaitable[None]]]) -> AsyncIterator[None]:
    """Call each subject's callback during the block."""
    subscriptions = [await client.subscribe(subject, cb=callback) for subject, callback in callbacks.items()]
    try:
        yield
    finally:
        if not client.is_closed:
            for subscription in subscriptions:
                await subscription.unsubscribe()
