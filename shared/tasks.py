"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any


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
