"""To wait until something is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

# Most seconds that a test waits for anything: enough beside a dozen busy programs, and what hangs is still named.
PATIENCE_S = 300.0


async def until(true: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Raises TimeoutError where it never becomes so. How long it takes is no matter of tests: machines are shared."""
    try:
        async with asyncio.timeout(within_s) as waited:
            while not true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        if not waited.expired():
            raise
        code = true.__code__ if isinstance(true, FunctionType) else None
        where = f" ({Path(code.co_filename).name}:{code.co_firstlineno})" if code else ""
        raise TimeoutError(f"not so after {within_s:.0f} s{where}") from None
