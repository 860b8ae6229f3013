"""A worker's usage: arrivals by minute, the work they took, and how long loading took.

    meter = Meter(counts, occupied_s=lambda: in_flight.occupied_s, loading_s=4.1)
    meter.record_delivery(message)         # at each delivery of a message
    meter.take()                           # the usage since the last call

A message is counted in the minute in which JetStream stored it, by its first worker. So arrivals are right also with a
backlog, and each message is in them once. What a killed worker has not yet published is missing.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import msgspec

from shared.contract.events import Detections, Event
from shared.contract.usage import MINUTE_S, WorkerUsage
from shared.worker.heartbeat import WorkCounts
from shared.worker.service import Message

EVERY_S = 600.0
_ADDED_UP = (
    *("processed", "failed", "frames_wanted", "frames_analysed", "backfilled"),
    *("busy_s", "wanted_s", "work_s", "backfilling_s"),
)


class Meter:
    """occupied_s: seconds with a message in flight, so far. loading_s: how long the process took to be ready."""

    def __init__(self, counts: WorkCounts, occupied_s: Callable[[], float], loading_s: float) -> None:
        self._counts = counts
        self._occupied_s = occupied_s
        self._loading_s: float | None = loading_s
        self._process = secrets.token_hex(5)
        self._n = 0
        self._since = time.time()
        self._arrivals: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._unchanged = 0
        self._before = self._so_far()

    def record_delivery(self, message: Message) -> None:
        """Record a delivery to this worker."""
        if message.deliveries == 1:
            self._arrivals[message.source.consumer][int(message.stored_at // MINUTE_S)] += 1

    def record_result(self, event: Event) -> None:
        """Record a stored result."""
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
        return {field: getattr(self._counts, field) for field in _ADDED_UP} | {"working_s": self._occupied_s()}
