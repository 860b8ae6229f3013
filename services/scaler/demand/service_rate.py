"""Messages a second that one busy replica works through, measured. Pure.

    rate = ServiceRate()
    rate.observe(now, waiting=31, fleet=fleet)
    rate.value                  # None until something was measured

The rate is what the replicas did, over the seconds in which they had a message in hand. A service that works in batches
is an exception: with little to do its batches are small, and it does less than it could. Its rate is what all replicas
did while messages waited, if that is clearly more.

Where workers say what work a message was, one looked at in part counts for as much less as it took less time: a replica
is no faster for leaving frames out.
"""

from __future__ import annotations

import math

import msgspec

from services.scaler.demand.observation import Workers


class RateTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Values were chosen on the traces of docs/explanation/scaling.md, where no other source is named."""

    memory_s: float = 200.0
    """A measurement fades to 1/e in this many replica-seconds."""

    trusted_s: float = 5.0
    """A rate is trusted after this many replica-seconds."""

    clearly: float = 1.15
    """The rate while messages wait is used where it is this many times the other: less may be chance."""

    least_messages: float = 1e-3
    """A rate is not given where fewer messages are remembered: they were worked through too long ago."""


TUNING = RateTuning()


class _Mean:
    """Messages over replica-seconds, of the last `memory_s` or so."""

    def __init__(self) -> None:
        self.messages = 0.0
        self.seconds = 0.0
        self.ever_s = 0.0

    def add(self, messages: float, seconds: float) -> None:
        fade = math.exp(-seconds / TUNING.memory_s)
        self.messages = self.messages * fade + messages
        self.seconds = self.seconds * fade + seconds
        self.ever_s += seconds

    @property
    def value(self) -> float | None:
        trusted = self.ever_s >= TUNING.trusted_s and self.messages >= TUNING.least_messages
        return self.messages / self.seconds if trusted else None


def _work(fleet: Workers) -> float:
    return fleet.processed if fleet.work is None else fleet.work


class ServiceRate:
    """See the module."""

    def __init__(self) -> None:
        self._saturated = _Mean()
        self._working = _Mean()
        self._last: tuple[float, int, Workers] | None = None

    def observe(self, now: float, waiting: int, fleet: Workers | None, *, is_restart: bool = False) -> None:
        """Take what is known at `now`, in seconds. waiting: messages that no replica holds yet. anew: as observed."""
        last, self._last = self._last, None if fleet is None else (now, waiting, fleet)
        if last is None or fleet is None or is_restart or now <= last[0]:
            return
        before_at, before_waiting, before = last
        processed = _work(fleet) - _work(before)
        working_s = fleet.working_s - before.working_s
        ready = min(before.ready, fleet.ready)
        if ready and before.ready == fleet.ready and before_waiting > 0 and waiting > 0:
            self._saturated.add(processed, ready * (now - before_at))
        if working_s > 0:
            self._working.add(processed, working_s)

    @property
    def value(self) -> float | None:
        """Messages a second of one busy replica; None until something was measured."""
        saturated, working = self._saturated.value, self._working.value
        if saturated is None or working is None:
            return working if saturated is None else saturated
        return saturated if saturated > TUNING.clearly * working else working
