"""What a question waits for: the jobs before it, and the workers that are ready or still loading."""

from __future__ import annotations

import asyncio
import time

import msgspec
from nats.aio.msg import Msg

from shared.bus.client import Connection
from shared.client import ask
from shared.contract import names, stats

# A worker says each second that it is there.
_SILENT_S = 5 * stats.INTERVAL_S
# However many ask, the server is asked this often.
_EVERY_S = 1.0
_MOST = 1000


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """waited_s: since it was asked. jobs: in work or waiting, of all who ask, this one too; null where the server does
    not say. ready, loading: workers.
    """

    waited_s: float = 0.0
    jobs: int | None = None
    ready: int = 0
    loading: int = 0


class Workers:
    """client: the viewer's."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._beats: dict[str, tuple[str, float]] = {}
        self._turn = asyncio.Lock()
        self._jobs: int | None = None
        self._asked = -_EVERY_S

    async def run(self) -> None:
        """Hear the workers, until cancelled."""
        subscription = await self._client.subscribe(names.stats("vlm", "*"), cb=self._on)
        try:
            await asyncio.Event().wait()
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()

    async def waiting(self, waited_s: float) -> Waiting:
        async with self._turn:
            if time.monotonic() - self._asked >= _EVERY_S:
                self._jobs = await ask.jobs_before(self._client)
                self._asked = time.monotonic()
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
