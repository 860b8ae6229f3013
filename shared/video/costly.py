"""Which cameras' video is not decoded for a while, because it was over the budget again and again. Pure.

Work that is refused has cost something already, and a camera sends such segments as long as it runs. So after some of
them the camera is quarantined. When its time is over, one of its segments is tried: a camera that was mended is back,
and another stays in quarantine for twice as long.

    costly = CostlyCameras(time.monotonic)
    costly.check("lobby")                    # raises OverBudget while it is quarantined
    costly.failed("lobby", error)            # or costly.worked("lobby")
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shared.runtime.backoff import Backoff
from shared.runtime.errors import OverBudget


class CostlyTuning(msgspec.Struct, frozen=True, kw_only=True):
    """most: so many segments over the budget quarantine a camera. forgiven: a segment within the budget makes up for
    this share of one over it, so that a camera is not back at once where it mixes both. wait: seconds in quarantine.
    """

    most: int = 3
    forgiven: float = 0.05
    wait: Backoff = Backoff(first_s=60.0, longest_s=960.0, jitter=0.0)


class _Record(msgspec.Struct):
    """failures: not forgiven. until: end of the quarantine, by the clock; None outside. reason: of the last failure."""

    failures: float = 0.0
    until: float | None = None
    reason: str = ""


class CostlyCameras:
    """clock: seconds, monotonic. It is not safe for threads."""

    def __init__(self, clock: Callable[[], float], tuning: CostlyTuning | None = None) -> None:
        self._clock = clock
        self._tuning = tuning or CostlyTuning()
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        """How many cameras are quarantined."""
        return sum(record.until is not None for record in self._records.values())

    def check(self, camera: str) -> None:
        """Raise OverBudget while the camera is quarantined. Once the time is over, one caller may try."""
        record = self._records.get(camera)
        if record is None or record.until is None:
            return
        left = record.until - self._clock()
        if left > 0:
            raise OverBudget(f"its camera is in quarantine for {left:.0f} s more, as {record.reason}")
        record.until = self._clock() + self._wait(record)

    def failed(self, camera: str, error: OverBudget) -> None:
        """One of its segments was over the budget."""
        record = self._records.setdefault(camera, _Record())
        record.failures += 1
        record.reason = f"a segment was refused: {error}"
        if record.failures >= self._tuning.most:
            record.until = self._clock() + self._wait(record)

    def worked(self, camera: str) -> None:
        """One of its segments was within the budget."""
        record = self._records.get(camera)
        if record is None:
            return
        if record.until is not None:
            record.until, record.failures = None, self._tuning.most - 1
        record.failures -= self._tuning.forgiven
        if record.failures <= 0:
            del self._records[camera]

    def _wait(self, record: _Record) -> float:
        return self._tuning.wait.after(max(1, int(record.failures) - self._tuning.most + 1))
