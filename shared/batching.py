"""Batches by weight and deadline: full, or the oldest has waited long enough.

Cameras pause around their keyframes, so a batch that waits for every camera stalls; a deadline does not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Generic, Protocol, TypeVar


class Weighted(Protocol):
    """`weight`: what an item counts for in a batch, in the device's units: frames, images, jobs."""

    @property
    def weight(self) -> int: ...


T = TypeVar("T", bound=Weighted)


class Batcher(Generic[T]):
    """A queue that gives batches of up to `size` by weight; an item heavier than that comes alone.

    `put` waits while a whole batch lies ready: what is decoded ahead stays under a batch and one item a thread.
    wait_s: how long the oldest item waits for company.
    """

    def __init__(self, size: int, wait_s: float) -> None:
        self._size = size
        self._wait_s = wait_s
        self._items: deque[tuple[float, T]] = deque()
        self._weight = 0
        self._more = asyncio.Event()
        self._less = asyncio.Event()

    async def put(self, item: T) -> None:
        while self._weight >= self._size:
            self._less.clear()
            await self._less.wait()
        self._items.append((asyncio.get_running_loop().time(), item))
        self._weight += item.weight
        self._more.set()

    async def take(self) -> list[T]:
        """The next batch, oldest first, never empty."""
        clock = asyncio.get_running_loop().time
        while self._weight < self._size:
            left = self._items[0][0] + self._wait_s - clock() if self._items else None
            if left is not None and left <= 0:
                break
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._more.wait()
        batch: list[T] = []
        weight = 0
        while self._items and (not batch or weight + self._items[0][1].weight <= self._size):
            batch.append(self._items.popleft()[1])
            weight += batch[-1].weight
        self._weight -= weight
        self._less.set()
        return batch

    def clear(self) -> None:
        """Forget everything, at shutdown."""
        self._items.clear()
        self._weight = 0
