"""The time in which a worker has nothing urgent to do, in short stages: one to prepare, one on the device."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from shared.worker.loop import Loop
from shared.worker.service import P, R
from shared.worker.stopwatch import Stopwatch

# Whether nothing more urgent waits.
HasTime = Callable[[], bool]


class Spare:
    """One per worker, for those of its extensions that work in this time.

    One stage runs on the device at a time, and one per thread elsewhere. Urgent work that arrives meanwhile waits for
    at most these.
    """

    def __init__(self, loop: Loop[P, R]) -> None:
        self._urgent = loop.in_flight
        self._poll_s, self._quiet_s = loop.tuning.poll_s, loop.tuning.quiet_s
        self._preparing = asyncio.Semaphore(loop.settings.threads)
        self._on_device = asyncio.Lock()

    def has_time(self) -> bool:
        """Whether nothing urgent is in flight or has arrived, and nothing is pending according to the last message."""
        return not self._urgent and not any(source.has_more(self._quiet_s) for source in self._urgent.sources)

    async def until(self, has_time: HasTime) -> None:
        while not has_time():
            await asyncio.sleep(self._poll_s)

    def preparing(self, working: Stopwatch, has_time: HasTime) -> AbstractAsyncContextManager[None]:
        """Run a stage in a thread, once there is time. working: counts its seconds."""
        return self._stage(self._preparing, working, has_time)

    def on_device(self, working: Stopwatch, has_time: HasTime) -> AbstractAsyncContextManager[None]:
        """Run a stage on the device."""
        return self._stage(self._on_device, working, has_time)

    @contextlib.asynccontextmanager
    async def _stage(
        self, room: asyncio.Semaphore | asyncio.Lock, working: Stopwatch, has_time: HasTime
    ) -> AsyncIterator[None]:
        """Suspend `occupied`: urgent work that arrives during the stage waits, but none of it is slower."""
        async with room:
            await self.until(has_time)
            with working.running(), self._urgent.occupied.suspended():
                yield
