"""What a question waits for: earlier jobs, and workers that are ready or still loading."""

from __future__ import annotations

import asyncio
import time

import msgspec
from nats.aio.msg import Msg

from shared.bus.client import Connection
from shared.client import ask
from shared.contract import names, stats

# A worker sends a heartbeat each second.
_SILENT_S = 5 * stats.INTERVAL_S
# Seconds between requests to the server, for all users together.
_EVERY_S = 1.0
_MOST = 1000


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """waited_s: seconds since the question. jobs: in flight or waiting, of all users, this one too; null if the server
    does not say. ready, loading: workers.
    """

    waited_s: float = 0.0
    jobs: int | None = None
    ready: int = 0
    loading: int = 0


class Workers:
    """Workers that answer questions. client: the viewer's."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._beats: dict[str, tuple[str, float]] = {}
        self._lock = asyncio.Lock()
        self._jobs: int | None = None
        self._polled_at = -_EVERY_S

    async def run(self) -> None:
        """Listen to the workers' heartbeats until cancelled."""
        subscription = await self._client.subscribe(names.stats("vlm", "*"), cb=self._on)
        try:
            await asyncio.Event().wait()
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()

    async def waiting(self, waited_s: float) -> Waiting:
        async with self._lock:
            if time.monotonic() - self._polled_at >= _EVERY_S:
                self._jobs = await ask.jobs_before(self._client)
                self._polled_at = time.monotonic()
        heard = time.monotonic() - _SILENT_S
        states = [state for state, at in self._beats.values() if at > heard]
        return Waiting(
            waited_s=round(waited_s, 1), jobs=self._jobs, ready=states.count("ready"), loading=states.count("loading")
        )

    async def _on(self, message: Msg) -> None:
        try:
            beat = stats.decode(message.data)
        except msgspec.DecodeError:
            return
        self._beats.pop(beat.replica, None)
        self._beats[beat.replica] = (beat.state, time.monotonic())
        if len(self._beats) > _MOST:
            del self._beats[next(iter(self._beats))]
