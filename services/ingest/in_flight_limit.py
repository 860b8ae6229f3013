"""Bounds what is in flight to JetStream, by bytes.

The further away the server is, the more is in flight: as much as cameras send in the time there and back. What the
network has not taken yet has a tighter bound, as leases are renewed on the same connection, behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# How often we look whether the network has taken what waits for it.
_LOOK_S = 0.005


class InFlightLimit:
    """Room for `max_bytes`, first come, first served. A larger message goes alone.

    held_up: whether something waits for the network already.
    """

    def __init__(self, max_bytes: int, held_up: Callable[[], bool]) -> None:
        self._max_bytes = max_bytes
        self._held_up = held_up
        self._bytes = 0
        self._turn = asyncio.Lock()
        self._landed = asyncio.Event()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait for room for so many bytes, and hold it for the block."""
        async with self._turn:
            while self._bytes and self._bytes + size > self._max_bytes:
                self._landed.clear()
                await self._landed.wait()
            while self._held_up():
                await asyncio.sleep(_LOOK_S)
            self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            self._landed.set()
