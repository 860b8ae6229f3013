"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they are done, their errors with them.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which nats-py's requests go through, swallows a
    cancellation that comes in the same turn as the result, and the task goes on.
    """
    left = {t for t in tasks if t is not None}
    while left := {t for t in left if not t.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.2)
    await asyncio.gather(*(t for t in tasks if t is not None), return_exceptions=True)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None if `stop` is set first: then it is ended."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        await end(working, stopping)
