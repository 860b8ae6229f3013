"""A metric that is kept up to date, its value for whoever asks, and its explanation.

answer = await live.answer()          # waits for the first reading; raises a TidegateError
live.listeners.add(event.set)         # called when `active` changes
live.explanation()                    # every term, for a person
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from services.scaler.demand.estimate import one_number
from services.scaler.live.metadata import Query
from shared.contract.explain import Explanation

# Whoever asks first waits this long for the first answer of JetStream, or for its failure.
FIRST_S = 3.0


class LiveAnswer(msgspec.Struct, frozen=True):
    """value: replicas that are wanted, an external metric whose target is 1. active: whether there is work at all."""

    value: float
    active: bool

    @property
    def metric(self) -> float:
        """Both as one number: above 0 where there is work."""
        return one_number(self.value, self.active)


class Live(Protocol):
    """One live metric. asked_at: monotonic seconds of the last question. metric: its name to KEDA."""

    requested_at: float
    listeners: set[Callable[[], None]]

    @property
    def query(self) -> Query: ...

    @property
    def metric(self) -> str: ...

    async def answer(self) -> LiveAnswer:
        """The value now. Raises Missing or Unavailable."""

    @property
    def active(self) -> bool | None:
        """Whether there is work; None while that can't be known."""

    @property
    def missing(self) -> bool:
        """Whether its stream, consumer or bucket does not exist."""

    def explanation(self) -> Explanation: ...

    async def close(self) -> None: ...


class Changes:
    """Calls listeners when `active` has changed."""

    def __init__(self) -> None:
        self.listeners: set[Callable[[], None]] = set()
        self.requested_at = time.monotonic()
        self._last: bool | None = None

    @property
    def unused_s(self) -> float:
        """Seconds since it was last asked for; 0 while somebody listens."""
        return 0.0 if self.listeners else round(time.monotonic() - self.requested_at, 3)

    def notify(self, active: bool | None) -> None:
        if active != self._last:
            self._last = active
            for listener in list(self.listeners):
                listener()
