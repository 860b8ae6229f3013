"""The measured messages per second of one busy replica. Pure.

The rate is the messages of the replicas over the seconds with a message in flight. A service with batches is an
exception: at low load its batches are small, and it does less than it could. Its rate is that of all replicas while
messages waited, if that is clearly higher.

If workers report the work of a message, a partially analysed message counts in proportion to its time: deferring frames
makes no replica faster.
"""

from __future__ import annotations

import math

from services.scaler.demand.observation import Workers

# Values without another source were chosen on the traces of docs/explanation/scaling.md.

# A measurement fades to 1/e in this many replica-seconds.
MEMORY_S = 200.0
# A rate is trusted after this many replica-seconds.
TRUSTED_S = 5.0
# The rate while messages wait is used if it is this many times the other: less may be noise.
CLEAR_RATIO = 1.15
# The minimum of remembered messages for a rate: fewer are too old.
MIN_MESSAGES = 1e-3


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
        trusted = self.ever_s >= TRUSTED_S and self.messages >= MIN_MESSAGES
        return self.messages / self.seconds if trusted else None


def _work(fleet: Workers) -> float:
    return fleet.processed if fleet.work is None else fleet.work


class ServiceRate:
    """See the module."""

    def __init__(self) -> None:
        self._saturated = _Mean()
        self._working = _Mean()
        self._last: tuple[float, int, Workers] | None = None

    def observe(self, now: float, waiting: int, fleet: Workers | None, *, is_new_observer: bool = False) -> None:
        """Record the state at `now`, in seconds. waiting: pending messages. is_new_observer: as in `Observation`."""
        last, self._last = self._last, None if fleet is None else (now, waiting, fleet)
        if last is None or fleet is None or is_new_observer or now <= last[0]:
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
        """Messages a second of one busy replica; None until there is a measurement."""
        saturated, working = self._saturated.value, self._working.value
        if saturated is None or working is None:
            return working if saturated is None else saturated
        return saturated if saturated > CLEAR_RATIO * working else working
