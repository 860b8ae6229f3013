"""A worker's usage, for `tidegate audit`: arrivals by minute, the work they took, and how long loading took.

A message is counted in the minute in which JetStream stored it, by its first worker. So arrivals are right also with a
backlog, and each message is in them once. What a killed worker has not yet published is missing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, defaultdict

import msgspec

from shared.contract.events import Detections, Event
from shared.contract.work.usage import MINUTE_S, WorkerUsage
from shared.runtime.tasks import end
from shared.service.process import STARTED
from shared.service.usage import Keeper
from shared.worker.extension import Extension
from shared.worker.loop import Loop
from shared.worker.service import Message, P, R

_INTERVAL_S = 600.0
_ADDED_UP = (
    *("processed", "failed", "frames_wanted", "frames_analysed", "frames_never", "backfilled"),
    *("busy_s", "wanted_s", "work_s", "backfilling_s"),
)


class UsageMeter(Extension[P]):
    """Stores the usage every ten minutes, and the rest at the end."""

    def __init__(self, loop: Loop[P, R]) -> None:
        self._counts = loop.counts
        self._in_flight = loop.in_flight
        self._keeper = Keeper(loop.client, loop.service.name, self.take, every_s=_INTERVAL_S)
        self._storing: asyncio.Task[None] | None = None
        self._loading_s: float | None = time.monotonic() - STARTED
        self._process = secrets.token_hex(5)
        self._n = 0
        self._since = time.time()
        self._arrivals: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._unchanged = 0
        self._before = self._so_far()

    async def start(self) -> list[asyncio.Task[None]]:
        self._storing = asyncio.create_task(self._keeper.run())
        return [self._storing]

    async def close(self) -> None:
        await end(self._storing)
        await self._keeper.close()

    def received(self, message: Message) -> None:
        if message.deliveries == 1:
            self._arrivals[message.source.consumer][int(message.stored_at // MINUTE_S)] += 1

    def stored(self, prepared: P, event: Event) -> None:
        self._unchanged += isinstance(event, Detections) and event.unchanged is not None

    def take(self) -> WorkerUsage:
        """Return the usage since the last call."""
        now, so_far = max(self._since, time.time()), self._so_far()
        spent = {field: round(value - self._before[field], 3) for field, value in so_far.items()}
        used = msgspec.structs.replace(
            WorkerUsage(process=self._process, n=self._n, since=int(self._since), until=int(now)),
            arrivals={consumer: dict(minutes) for consumer, minutes in self._arrivals.items()},
            loading_s=None if self._loading_s is None else round(self._loading_s, 2),
            unchanged=self._unchanged,
            **spent,
        )
        self._n += 1
        self._since, self._before, self._loading_s, self._unchanged = now, so_far, None, 0
        self._arrivals.clear()
        return used

    def _so_far(self) -> dict[str, int | float]:
        return {field: getattr(self._counts, field) for field in _ADDED_UP} | {
            "working_s": self._in_flight.occupied.seconds
        }
