"""A metric that is continuously updated, its value on request, and its explanation.

answer = await live.answer()          # waits for the first reading; raises a TidegateError
live.listeners.add(event.set)         # called when `active` changes
live.explanation()                    # every term, for a person
"""

from __future__ import annotations

import time
from typing import Protocol

import msgspec

from services.scaler.demand.estimate import one_number
from services.scaler.live.listeners import Listeners
from services.scaler.live.metadata import Query
from shared.contract.explain import Explanation

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


class Live(Protocol):
    """One live metric. requested_at: monotonic seconds of the last request. metric: its name in KEDA."""

    requested_at: float
    listeners: Listeners

    @property
    def query(self) -> Query: ...

    @property
    def metric(self) -> str: ...

    async def answer(self) -> LiveAnswer:
        """Return the value now. Raises Missing or Unavailable."""

    @property
    def active(self) -> bool | None:
        """Whether there is work; None if unknown."""

    @property
    def missing(self) -> bool:
        """Whether its stream, consumer or bucket does not exist."""

    def explanation(self) -> Explanation: ...

    async def close(self) -> None: ...


class Changes:
    """Notifies listeners of a change of `active`."""

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.requested_at = time.monotonic()
        self._last: bool | None = None

    @property
    def unused_s(self) -> float:
        """Seconds since the last request; 0 with a listener."""
        return 0.0 if self.listeners else round(time.monotonic() - self.requested_at, 3)

    def notify(self, active: bool | None) -> None:
        if active != self._last:
            self._last = active
            self.listeners.notify()
