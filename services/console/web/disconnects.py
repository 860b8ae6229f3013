"""Work that is cancelled if its browser disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from services.console.web.parameters import AnyRequest
from services.console.web.refused import Refused
from shared.runtime.tasks import end

T = TypeVar("T")


async def while_there(request: AnyRequest, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. Raises Refused if the client has disconnected: nobody reads that."""
    # The body is read first: the only message after it is the disconnect.
    await request.body()
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Refused(408, "whoever asked has gone")
    finally:
        await end(working, leaving)


async def _disconnected(request: AnyRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
