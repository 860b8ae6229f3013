"""A cached value: one fetch serves all requests within a short time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class CachedValue(Generic[T]):
    """See the module. fetch: computes the value. age_s: how long it is cached."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], age_s: float) -> None:
        self._fetch = fetch
        self._age_s = age_s
        self._at = -math.inf
        self._lock = asyncio.Lock()
        self._value: T

    async def get(self) -> T:
        """Return the value. Raises what `fetch` raises; the next call then fetches again."""
        async with self._lock:
            if time.monotonic() - self._at > self._age_s:
                self._value = await self._fetch()
                self._at = time.monotonic()
            return self._value
