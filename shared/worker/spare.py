"""The time in which a worker has nothing urgent to do, in stages that are short: one to prepare, one on the device."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from shared.worker.in_flight import InFlight
from shared.worker.service import Message
from shared.worker.stopwatch import Stopwatch

# Whether nothing more urgent is to be done.
HasTime = Callable[[], bool]


class Spare:
    """One for the worker. urgent: what it has in hand of everything that is. threads: that prepare.

    There is one stage on the device at a time, and as many others as threads: what is urgent and comes meanwhile waits
    for no more than these.
    """

    def __init__(self, urgent: InFlight[Message], *, threads: int, poll_s: float) -> None:
        self._urgent = urgent
        self._poll_s = poll_s
        self._preparing = asyncio.Semaphore(threads)
        self._on_device = asyncio.Lock()

    def has_time(self) -> bool:
        """Whether there is nothing urgent."""
        return self._urgent.is_idle

    async def until(self, has_time: HasTime) -> None:
        while not has_time():
            await asyncio.sleep(self._poll_s)

    def preparing(self, working: Stopwatch, has_time: HasTime) -> AbstractAsyncContextManager[None]:
        """A stage in a thread, once there is time. working: counts its seconds."""
        return self._stage(self._preparing, working, has_time)

    def on_device(self, working: Stopwatch, has_time: HasTime) -> AbstractAsyncContextManager[None]:
        """The same on the device."""
        return self._stage(self._on_device, working, has_time)

    @contextlib.asynccontextmanager
    async def _stage(
        self, room: asyncio.Semaphore | asyncio.Lock, working: Stopwatch, has_time: HasTime
    ) -> AsyncIterator[None]:
        """What is urgent and comes meanwhile waits, which makes none of it slower."""
        async with room:
            await self.until(has_time)
            with working.running(), self._urgent.occupied.suspended():
                yield
