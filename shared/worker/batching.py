"""Batches by urgency, weight and deadline: full, or the oldest has waited long enough.

Cameras pause around their keyframes, so a batch that waits for every camera stalls; a deadline does not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Weighted(Protocol):
    """`weight`: what an item counts for in a batch, in the device's units: frames, images, jobs."""

    @property
    def weight(self) -> int: ...


T = TypeVar("T", bound=Weighted)


class Batcher(Generic[T]):
    """A queue that returns batches of up to `size` by weight; a heavier item comes alone.

    `put` waits while a whole batch of the same or a higher urgency is ready. So at most one batch plus one item per
    thread is decoded ahead, and an urgent item never waits for less urgent ones. wait_s: how long the oldest item waits
    for a batch to fill. rank: the urgency, 0 the most urgent.
    """

    def __init__(self, size: int, wait_s: float, *, ranks: int = 1) -> None:
        self._size = size
        self._wait_s = wait_s
        self._items: list[deque[tuple[float, T]]] = [deque() for _ in range(ranks)]
        self._weights = [0] * ranks
        # Waiting `put` calls proceed in the order of their arrival.
        self._turns = [asyncio.Lock() for _ in range(ranks)]
        self._more = asyncio.Event()
        self._less = asyncio.Event()

    async def put(self, item: T, rank: int = 0) -> None:
        async with self._turns[rank]:
            while sum(self._weights[: rank + 1]) >= self._size:
                self._less.clear()
                await self._less.wait()
        self._items[rank].append((asyncio.get_running_loop().time(), item))
        self._weights[rank] += item.weight
        self._more.set()

    async def take(self, ranks: int | None = None, *, only_full: Callable[[], bool] = lambda: False) -> list[T]:
        """Return the next batch, never empty: the most urgent items, and of those the oldest. Several callers may wait.

        ranks: take items of the n most urgent ranks only; None: of all. only_full: whether the batch must be full for
        now, however long the oldest item waits. It is read again after each `put`.
        """
        clock = asyncio.get_running_loop().time
        while sum(self._weights[:ranks]) < self._size:
            oldest = min((of_rank[0][0] for of_rank in self._items[:ranks] if of_rank), default=None)
            left = None if oldest is None or only_full() else oldest + self._wait_s - clock()
            if left is not None and left <= 0:
                break
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._more.wait()
        batch: list[T] = []
        weight = 0
        for rank, of_rank in enumerate(self._items[:ranks]):
            while of_rank and (not batch or weight + of_rank[0][1].weight <= self._size):
                batch.append(of_rank.popleft()[1])
                weight += batch[-1].weight
                self._weights[rank] -= batch[-1].weight
        self._less.set()
        return batch

    def clear(self) -> None:
        """Forget everything, at shutdown."""
        for rank, of_rank in enumerate(self._items):
            of_rank.clear()
            self._weights[rank] = 0
