"""Bounds what is in flight to JetStream, by bytes.

The further away the server is, the more is in flight: as much as cameras send in a round trip. Bytes that the network
has not taken yet have a tighter bound, as lease renewals queue behind them on the same connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# Interval of checks whether the network has taken what waits for it.
_LOOK_S = 0.005


class InFlightLimit:
    """Room for `max_bytes`, first come, first served. A larger message goes alone.

    is_congested: whether something already waits for the network.
    """

    def __init__(self, max_bytes: int, is_congested: Callable[[], bool]) -> None:
        self._max_bytes = max_bytes
        self._is_congested = is_congested
        self._bytes = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait for room for `size` bytes, and occupy it for the block."""
        async with self._turn:
            while self._bytes and self._bytes + size > self._max_bytes:
                self._freed.clear()
                await self._freed.wait()
            while self._is_congested():
                await asyncio.sleep(_LOOK_S)
            self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            self._freed.set()
