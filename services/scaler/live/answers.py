"""A metric that is continuously updated, its value on request, and its explanation."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from services.scaler.consumers.listeners import Listeners
from services.scaler.demand.estimate import one_number
from services.scaler.live.metadata import Query
from shared.contract.questions.explain import Explanation

# The first request waits this long for JetStream's first reply or error.
FIRST_S = 3.0


class LiveAnswer(msgspec.Struct, frozen=True):
    """value: the replicas to run, an external metric with a target of 1. active: whether there is work."""

    value: float
    active: bool

    @property
    def metric(self) -> float:
        """Both as one number, which is above 0 if there is work."""
        return one_number(self.value, self.active)


class LiveMetric(ABC):
    """One live metric. metric: its name in KEDA. requested_at: monotonic seconds of the last request.

    listeners: called when `active` changes.
    """

    metric: ClassVar[str]
    query: Query

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.requested_at = time.monotonic()
        self._last: bool | None = None

    @abstractmethod
    async def answer(self) -> LiveAnswer:
        """Return the value now, or that of the first reading. Raises Missing or Unavailable."""

    @property
    @abstractmethod
    def active(self) -> bool | None:
        """Whether there is work; None if unknown."""

    @property
    @abstractmethod
    def missing(self) -> bool:
        """Whether its stream, consumer or bucket does not exist."""

    @abstractmethod
    def explanation(self) -> Explanation:
        """Return every term, for a person."""

    @abstractmethod
    async def close(self) -> None: ...

    @property
    def unused_s(self) -> float:
        """Seconds since the last request; 0 with a listener."""
        return 0.0 if self.listeners else round(time.monotonic() - self.requested_at, 3)

    def notify(self, active: bool | None) -> None:
        """Call the listeners if `active` has changed."""
        if active != self._last:
            self._last = active
            self.listeners.notify()
