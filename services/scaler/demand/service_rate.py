"""Messages a second that one busy replica works through, measured. Pure.

    rate = ServiceRate()
    rate.observe(now, waiting=31, fleet=fleet)
    rate.value                  # None until something was measured

What the replicas did over the seconds in which they had work in their hands is the answer, but for a service that works
in batches: with little to do its batches are small, and it does less than it could. There the answer is what all of
them did while messages waited, if that is clearly more.
"""

from __future__ import annotations

import math

from services.scaler.demand.observation import Workers

# Replica-seconds in which a measurement fades to 1/e, and from which on it is trusted.
MEMORY_S = 200.0
TRUSTED_S = 5.0
# The rate while messages wait counts where it is so many times the other: less may be chance.
CLEARLY = 1.15
# A smaller part of a message is the memory of one long ago, and no rate to divide by.
LEAST_MESSAGES = 1e-3


class _Mean:
    """Messages over replica-seconds, of the last MEMORY_S or so."""

    def __init__(self) -> None:
        self.messages = 0.0
        self.seconds = 0.0
        self.ever_s = 0.0

    def add(self, messages: float, seconds: float) -> None:
        fade = math.exp(-seconds / MEMORY_S)
        self.messages = self.messages * fade + messages
        self.seconds = self.seconds * fade + seconds
        self.ever_s += seconds

    @property
    def value(self) -> float | None:
        return self.messages / self.seconds if self.ever_s >= TRUSTED_S and self.messages >= LEAST_MESSAGES else None


class ServiceRate:
    """See the module."""

    def __init__(self) -> None:
        self._saturated = _Mean()
        self._working = _Mean()
        self._last: tuple[float, int, Workers] | None = None

    def observe(self, now: float, waiting: int, fleet: Workers | None) -> None:
        """`waiting`: messages that no replica holds yet."""
        last, self._last = self._last, None if fleet is None else (now, waiting, fleet)
        if last is None or fleet is None or now <= last[0]:
            return
        before_at, before_waiting, before = last
        processed = fleet.processed - before.processed
        working_s = fleet.working_s - before.working_s
        ready = min(before.ready, fleet.ready)
        if ready and before.ready == fleet.ready and before_waiting > 0 and waiting > 0:
            self._saturated.add(processed, ready * (now - before_at))
        if working_s > 0:
            self._working.add(processed, working_s)

    @property
    def value(self) -> float | None:
        saturated, working = self._saturated.value, self._working.value
        if saturated is None or working is None:
            return working if saturated is None else saturated
        return saturated if saturated > CLEARLY * working else working
