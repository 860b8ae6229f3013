"""Concurrent tasks: wait for the first to end, and end the others reliably."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def supervise(*work: Coroutine[Any, Any, Any] | asyncio.Task[Any], stop: asyncio.Event | None = None) -> None:
    """Wait until the first of `work` ends or `stop` is set, and raise its error.

    A coroutine runs as a task of ours, and ends before this returns. A task is only watched: its creator ends it, in
    the order that its shutdown needs.
    """
    ours = [asyncio.create_task(w) for w in work if not isinstance(w, asyncio.Task)]
    if stop is not None:
        ours.append(asyncio.create_task(stop.wait()))
    watched = [w for w in work if isinstance(w, asyncio.Task)]
    try:
        done, _ = await asyncio.wait([*watched, *ours], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end(*ours)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of `work`, or None if `stop` is set first: then `work` is cancelled."""
    working = asyncio.create_task(work)
    try:
        await supervise(working, stop=stop)
        return working.result() if working.done() else None
    finally:
        await end(working)


async def gather(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of all. If one fails, raise its error and cancel the others."""
    tasks = [asyncio.create_task(w) for w in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await end(*tasks)


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they are done, and drop their errors.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which nats-py's requests go through, swallows a
    cancellation that comes in the same turn as the result, and the task goes on.
    """
    left = {t for t in tasks if t is not None}
    while left := {t for t in left if not t.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.2)
    await asyncio.gather(*(t for t in tasks if t is not None), return_exceptions=True)


class Background:
    """Tasks that run concurrently with what starts them."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task. A reference to it exists until it is done: asyncio has none."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
