"""To wait until something is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(true: Callable[[], object], within_s: float = 60.0) -> None:
    """Raises TimeoutError where it never becomes so. How long it takes is no matter of tests: machines are shared."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)
