"""The progress of a consumer's work: counts that continue over a restart, and when they last grew. Pure."""

from __future__ import annotations

import math

import msgspec

from services.scaler.demand.observation import Observation
from services.scaler.demand.parameters import BLIND_S


class Progress:
    """See the module. is_beginning: whether the last observation is the first, or the first after a gap.

    began: its time. arrived_at, done_at: the times of the last arrival and of the last completion.
    """

    def __init__(self) -> None:
        self.is_beginning = False
        self.began = self.arrived_at = self.done_at = -math.inf
        self._at = -math.inf
        self._arrived: int | None = None
        self._done = 0
        # The arrivals before the count restarted.
        self._lost_count = 0

    def observe(self, o: Observation) -> Observation:
        """Return the observation with a count of arrivals that never decreases."""
        arrived = o.arrived + self._lost_count
        before = arrived if self._arrived is None else self._arrived
        if arrived < before:
            self._lost_count, arrived = before - o.arrived, before
        self.is_beginning = o.time - self._at > BLIND_S
        self._at = o.time
        if self.is_beginning:
            self.began = o.time
        # The arrival time of a backlog after a gap is unknown: it may be now.
        if arrived > before or (self.is_beginning and o.backlog > 0):
            self.arrived_at = o.time
        self._arrived = arrived
        if arrived - o.backlog > self._done:
            self._done, self.done_at = arrived - o.backlog, o.time
        return msgspec.structs.replace(o, arrived=arrived) if self._lost_count else o
