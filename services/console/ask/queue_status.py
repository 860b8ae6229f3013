"""What a question waits for: earlier jobs, and workers that are ready or still loading."""

from __future__ import annotations

import asyncio
import time

import msgspec

from services.console.now.replicas import Fleet
from shared.bus.client import Connection
from shared.client import ask

# Seconds between requests to the server, for all users together.
_EVERY_S = 1.0


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """waited_s: seconds since the question. jobs: in flight or waiting, of all users, this one too; null if the server
    does not say. ready, loading: workers.
    """

    waited_s: float = 0.0
    jobs: int | None = None
    ready: int = 0
    loading: int = 0


class Workers:
    """Workers that answer questions. client: the viewer's. fleet: their heartbeats."""

    def __init__(self, client: Connection, fleet: Fleet) -> None:
        self._client = client
        self._fleet = fleet
        self._lock = asyncio.Lock()
        self._jobs: int | None = None
        self._polled_at = -_EVERY_S

    async def waiting(self, waited_s: float) -> Waiting:
        async with self._lock:
            if time.monotonic() - self._polled_at >= _EVERY_S:
                self._jobs = await ask.jobs_before(self._client)
                self._polled_at = time.monotonic()
        ready, loading = (self._fleet.count(time.monotonic(), state) for state in ("ready", "loading"))
        return Waiting(waited_s=round(waited_s, 1), jobs=self._jobs, ready=ready, loading=loading)
