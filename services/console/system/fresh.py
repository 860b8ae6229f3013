"""What costs something to find out, found out once for all who ask at about the same time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """make: finds it out. age_s: for so long it is told again."""

    def __init__(self, make: Callable[[], Awaitable[T]], age_s: float) -> None:
        self._make = make
        self._age_s = age_s
        self._at = -math.inf
        self._turn = asyncio.Lock()
        self._found: T

    async def get(self) -> T:
        """Raises what `make` raises; then the next who asks tries again."""
        async with self._turn:
            if time.monotonic() - self._at > self._age_s:
                self._found = await self._make()
                self._at = time.monotonic()
            return self._found
