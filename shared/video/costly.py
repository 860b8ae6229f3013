"""The quarantine of cameras whose video was repeatedly over the budget: it is not decoded for a while. Pure.

Refused work has already cost something, and a camera sends such segments as long as it runs. So after some of them the
camera is quarantined. When its time is over, one of its segments is tried. A repaired camera is back; another stays in
quarantine for twice as long.

    costly = CostlyCameras(time.monotonic)
    costly.check("lobby")                    # raises OverBudget while it is quarantined
    costly.record_failure("lobby", error)    # or costly.record_success("lobby")
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shared.runtime.backoff import Backoff
from shared.runtime.errors import OverBudget

# This many segments over the budget quarantine a camera.
MAX_OVER_BUDGET = 3
# A segment within the budget offsets this share of a failure: a camera that mixes both is not back immediately.
FORGIVEN_SHARE = 0.05
# Seconds in quarantine.
QUARANTINE = Backoff(first_s=60.0, longest_s=960.0, jitter=0.0)


class _Record(msgspec.Struct):
    """failures: not yet offset. until: end of the quarantine, by the clock, or None. reason: of the last failure."""

    failures: float = 0.0
    until: float | None = None
    reason: str = ""


class CostlyCameras:
    """clock: seconds, monotonic. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        """Return the number of quarantined cameras."""
        return sum(record.until is not None for record in self._records.values())

    def check(self, camera: str) -> None:
        """Raise OverBudget while the camera is quarantined. Afterwards, one caller may try."""
        record = self._records.get(camera)
        if record is None or record.until is None:
            return
        left = record.until - self._clock()
        if left > 0:
            raise OverBudget(f"its camera is in quarantine for {left:.0f} s more, as {record.reason}")
        record.until = self._clock() + self._wait(record)

    def record_failure(self, camera: str, error: OverBudget) -> None:
        """Record a segment over the budget."""
        record = self._records.setdefault(camera, _Record())
        record.failures += 1
        record.reason = f"a segment was refused: {error}"
        if record.failures >= MAX_OVER_BUDGET:
            record.until = self._clock() + self._wait(record)

    def record_success(self, camera: str) -> None:
        """Record a segment within the budget."""
        record = self._records.get(camera)
        if record is None:
            return
        if record.until is not None:
            record.until, record.failures = None, MAX_OVER_BUDGET - 1
        record.failures -= FORGIVEN_SHARE
        if record.failures <= 0:
            del self._records[camera]

    def _wait(self, record: _Record) -> float:
        return QUARANTINE.after(max(1, int(record.failures) - MAX_OVER_BUDGET + 1))
