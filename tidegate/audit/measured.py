"""Measurements of workers: their rate, the time until one is ready, and the frames they skipped. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from shared.contract.usage import WorkerUsage

# A smaller sample gives no usable rate.
LEAST_MESSAGES, LEAST_S = 20, 5.0
# A batching service has a higher rate under load, so only the busiest periods count.
BUSIEST = 0.5


class WorkerMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """rate: fully analysed messages per second of a busy replica; None if the sample is too small. cold_start_s: median
    time from process start to ready, over `starts`. replica_hours: total lifetime of workers. working_hours: total time
    with messages in flight. static_share: share of results from static scenes, without inference.
    deferred_share: share of the wanted frames that were deferred.
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
    def of(cls, workers: Sequence[WorkerUsage]) -> WorkerMeasurements:
        """Sum up the periods of all workers."""
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
    """Return messages per second over the busiest half of the working time; None if the sample is too small.

    A partially analysed segment counts in proportion to the replica time it took.
    """
    busiest = sorted((w for w in workers if w.working_s > 0), key=lambda w: -w.working_s / max(1, w.until - w.since))
    half = BUSIEST * sum(w.working_s for w in busiest)
    messages = seconds = 0.0
    for w in busiest:
        if seconds >= max(half, LEAST_S):
            break
        messages += w.processed * (w.work_s / w.wanted_s if w.wanted_s else 1.0)
        seconds += w.working_s
    is_enough = sum(w.processed for w in workers) >= LEAST_MESSAGES and seconds >= LEAST_S
    return messages / seconds if is_enough and messages else None
