"""A search service whose answers the test defines."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from nats.aio.client import Client

from shared.bus import requests
from shared.contract import names


@contextlib.asynccontextmanager
async def answering(
    client: Client, **answers: Callable[[bytes], Awaitable[tuple[bytes, dict[str, str]]]]
) -> AsyncIterator[None]:
    """A search service with faults that a real one rarely shows."""
    subjects = {"find": names.FIND, "clip": names.FIND_CLIP}
    service = await requests.serve(client, "faulty", "fails", {k: (subjects[k], v) for k, v in answers.items()})
    try:
        yield
    finally:
        await service.stop()
