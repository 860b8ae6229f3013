"""What a question waits for: earlier jobs, and workers that are ready or still loading."""

from __future__ import annotations

import time

import msgspec

from services.console.now.replicas import Fleet
from services.console.web.cached_value import CachedValue
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
        self._fleet = fleet
        self._jobs: CachedValue[int | None] = CachedValue(lambda: ask.jobs_before(client), _EVERY_S)

    async def waiting(self, waited_s: float) -> Waiting:
        ready, loading = (self._fleet.count(time.monotonic(), state) for state in ("ready", "loading"))
        return Waiting(waited_s=round(waited_s, 1), jobs=await self._jobs.get(), ready=ready, loading=loading)
