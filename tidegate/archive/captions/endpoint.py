"""The vision language model of a run: at an endpoint, or by a server of our own, which is restarted if it dies.

Example:
    async with opened(settings) as endpoint:
        await endpoint.supervised(work)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from services.vlm.endpoints.connection import connect, upkeep
from services.vlm.endpoints.model import Model
from services.vlm.settings import VlmSettings
from shared.runtime.errors import Away
from shared.runtime.tasks import end, supervise

# A request during which our server died this often is assumed to crash it.
_DEATHS = 3

T = TypeVar("T")


class CaptionEndpoint:
    """See the module. watchers: tasks that maintain the model. is_ours: whether the server is ours."""

    def __init__(self, model: Model, watchers: list[asyncio.Task[Any]], *, is_ours: bool) -> None:
        self.model = model
        self._watchers = watchers
        self._is_ours = is_ours

    async def until_well(self) -> None:
        """Wait for the model. A server of ours loads for minutes, and exits if it can't. Raises Away if it is lost."""
        waits = [] if self._is_ours else [self.model.lost.wait()]
        await supervise(self.model.well.wait(), *waits, *self._watchers)
        if not self.model.well.is_set():
            raise Away(f"captions can't be made: {self.model.reason}. Start it, or correct VLM_URL")

    async def supervised(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of the work. Raises the error of a watcher that fails meanwhile."""
        task = asyncio.create_task(work)
        try:
            await supervise(task, *self._watchers)
            return task.result()
        finally:
            await end(task)

    async def with_restarts(self, request: Callable[[], Awaitable[T]]) -> T:
        """Return the reply; repeat the request if our server, which is restarted, died meanwhile. Raises Away."""
        deaths = 0
        while True:
            try:
                return await request()
            except Away:
                deaths += 1
                if not self._is_ours or deaths == _DEATHS:
                    raise
            await self.until_well()


@contextlib.asynccontextmanager
async def opened(settings: VlmSettings) -> AsyncIterator[CaptionEndpoint]:
    """Yield the endpoint, which is reachable. Raises TidegateError with the remedy if it is not."""
    async with connect(settings) as (model, server):
        watchers = upkeep(model, server)
        try:
            endpoint = CaptionEndpoint(model, watchers, is_ours=server is not None)
            await endpoint.until_well()
            if server:
                server.is_well()
            yield endpoint
        finally:
            await end(*watchers)
