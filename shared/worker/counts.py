"""What a worker has done since its process began, for its heartbeats and its usage."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class WorkCounts:
    """Since the process began: messages with a result, failed tries, items computed, and seconds computing.

    wanted_s, work_s, frames_wanted, frames_analysed: as `WorkerStats` has them.
    frames_never: deferred frames that no replica will analyse any more.
    backfilled, backfilling_s: messages backfilled, which count in neither of the first two, and their seconds.
    """

    processed: int = 0
    failed: int = 0
    items: int = 0
    busy_s: float = 0.0
    wanted_s: float = 0.0
    work_s: float = 0.0
    frames_wanted: int = 0
    frames_analysed: int = 0
    frames_never: int = 0
    backfilled: int = 0
    backfilling_s: float = 0.0
    started: float = field(default_factory=time.monotonic)
