"""What workers have shown of themselves: their rate, how long one takes to be there, what they were spared. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from shared.contract.usage import WorkerUsage

# With less than this, nothing follows from what was measured.
LEAST_MESSAGES, LEAST_S = 20, 5.0
# A service that works in batches does more in a second of work the more there is to do.
BUSIEST = 0.5


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """rate: messages looked at in full that a busy replica does in a second, None where too little was done.
    cold_start_s: from the start of a process until it is ready, in the median of `starts`. replica_hours: in which
    workers lived, and working_hours: in which they had something in hand. static_share: share of results for which no
    device was asked. deferred_share: share of the wanted frames that were not looked at at first.
    """

    rate: float | None
    cold_start_s: float | None
    starts: int
    processed: int
    replica_hours: float
    working_hours: float
    static_share: float
    deferred_share: float

    @classmethod
    def of(cls, workers: Sequence[WorkerUsage]) -> Measured:
        """What their periods add up to."""
        loading = [w.loading_s for w in workers if w.loading_s is not None]
        processed, wanted = sum(w.processed for w in workers), sum(w.frames_wanted for w in workers)
        return cls(
            rate=_rate(workers),
            cold_start_s=statistics.median(loading) if loading else None,
            starts=len(loading),
            processed=processed,
            replica_hours=sum(w.until - w.since for w in workers) / 3600,
            working_hours=sum(w.working_s for w in workers) / 3600,
            static_share=min(1.0, sum(w.unchanged for w in workers) / processed) if processed else 0.0,
            deferred_share=max(0.0, 1 - sum(w.frames_analysed for w in workers) / wanted) if wanted else 0.0,
        )


def _rate(workers: Sequence[WorkerUsage]) -> float | None:
    """Over that half of the working time in which the least of it was idle. What was looked at in part counts for as
    much less as it took less time.
    """
    busiest = sorted((w for w in workers if w.working_s > 0), key=lambda w: -w.working_s / max(1, w.until - w.since))
    half = BUSIEST * sum(w.working_s for w in busiest)
    done = seconds = 0.0
    for w in busiest:
        if seconds >= max(half, LEAST_S):
            break
        done += w.processed * (w.work_s / w.wanted_s if w.wanted_s else 1.0)
        seconds += w.working_s
    enough = sum(w.processed for w in workers) >= LEAST_MESSAGES and seconds >= LEAST_S
    return done / seconds if enough and done else None
