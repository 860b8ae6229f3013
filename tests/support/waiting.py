"""Wait until a condition holds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

# The wait on an idle machine.
BASE_S = 120.0
# Load beyond this does not extend the wait: a longer wait would hide a hang.
MOST_LOAD = 6.0
LONGEST_S = BASE_S * MOST_LOAD


def load() -> float:
    """The load of each core: at least 1, and at most the load that patience allows for."""
    return min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), MOST_LOAD)


def patience_s() -> float:
    """Maximum seconds of one wait."""
    return BASE_S * load()


async def until(true: Callable[[], object], within_s: float | None = None) -> None:
    """Raise TimeoutError if the condition never holds. The default limit follows the load during the wait."""
    began = time.monotonic()
    while not true():
        limit_s = patience_s() if within_s is None else within_s
        if time.monotonic() - began > limit_s:
            code = true.__code__ if isinstance(true, FunctionType) else None
            where = f" ({Path(code.co_filename).name}:{code.co_firstlineno})" if code else ""
            raise TimeoutError(f"not so after {limit_s:.0f} s{where}")
        await asyncio.sleep(0.02)
