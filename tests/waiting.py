"""To wait until something is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Most seconds that a test waits for anything: enough beside a dozen busy programs, and what hangs is still named.
PATIENCE_S = 120.0


async def until(true: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Raises TimeoutError where it never becomes so. How long it takes is no matter of tests: machines are shared."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)
