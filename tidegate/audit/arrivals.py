"""The inputs of an audit: recorded arrivals, measurements of workers, and the user's overrides. Pure.

Example:
    arrivals = from_usage(book, "cv", begin)
    load = workload(bases("cv"), arrivals, LoadOverrides(cold_start_s=180))
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.contract.work.usage import MINUTE_S, WorkerUsage
from shared.runtime.errors import SettingError
from tidegate.audit.candidates import Bases
from tidegate.client.usage import Book, CameraTotal
from tidegate.simulation.compare import peak
from tidegate.simulation.engine import Workload
from tidegate.simulation.trace import Trace

BUDGETS = (0.0, 0.005, 0.01, 0.015, 0.02)
LEAST_S = 300


# A smaller sample gives no usable rate.
LEAST_MESSAGES, LEAST_WORK_S = 20, 5.0
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
        if seconds >= max(half, LEAST_WORK_S):
            break
        messages += w.processed * (w.work_s / w.wanted_s if w.wanted_s else 1.0)
        seconds += w.working_s
    is_enough = sum(w.processed for w in workers) >= LEAST_MESSAGES and seconds >= LEAST_WORK_S
    return messages / seconds if is_enough and messages else None


class NoArrivals(SettingError):
    """Too few arrivals are recorded: the user has to give a trace."""


class RateUnknown(SettingError):
    """The rate of a replica is neither measured nor set."""


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """begins: None for a trace, which has no clock. bad: unreadable messages."""

    trace: Trace
    known: NDArray[np.bool_] | None = None
    begins: dt.datetime | None = None
    measured: WorkerMeasurements = msgspec.field(default_factory=lambda: WorkerMeasurements.of(()))
    cameras: dict[str, CameraTotal] = {}
    from_cameras: int = 0
    bad: int = 0


class LoadOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """None: as measured, or as shipped; for max_replicas: twice the need of the peak."""

    service_rate: float | None = None
    cold_start_s: float | None = None
    latency_target_s: float | None = None
    min_replicas: int = 0
    max_replicas: int | None = None


def from_usage(book: Book, service: str, begin: dt.datetime) -> Arrivals:
    """Return the arrivals that USAGE recorded. Raise NoArrivals if there are too few."""
    usage = book.of(service, since=int(begin.timestamp()) // MINUTE_S)
    if usage is None or not usage.arrivals.any():
        others = [s for s in book.services if s != service]
        where = f"; there is something of {', '.join(others)}" if others else ""
        raise NoArrivals(
            f"nothing is known yet of what arrives at {service}{where}. Workers say it every ten minutes and as they "
            "end, ingest every half hour: let them run"
        )
    if len(usage.arrivals) * MINUTE_S < LEAST_S:
        raise NoArrivals(
            f"only {len(usage.arrivals)} minutes are known so far of what arrives at {service}: ask again in an hour"
        )
    return Arrivals(
        trace=Trace(service, float(MINUTE_S), usage.arrivals),
        known=usage.known,
        begins=dt.datetime.fromtimestamp(usage.first * MINUTE_S).astimezone(),
        measured=WorkerMeasurements.of(usage.workers),
        cameras=book.cameras,
        from_cameras=usage.from_cameras,
        bad=book.bad,
    )


def workload(base: Bases, arrivals: Arrivals, overrides: LoadOverrides) -> Workload:
    """Return the workload to simulate. Raise RateUnknown if no rate is measured or set."""
    rate = overrides.service_rate or arrivals.measured.rate
    if rate is None:
        raise RateUnknown(f"what a busy replica of {base.name} does was not measured yet")
    cold_start_s = overrides.cold_start_s if overrides.cold_start_s is not None else arrivals.measured.cold_start_s
    load = Workload(
        service_rate=rate,
        cold_start_s=float(base.settings["coldStart"]) if cold_start_s is None else round(cold_start_s, 1),
        latency_target_s=overrides.latency_target_s or float(base.settings["latencyTarget"]),
        min_replicas=overrides.min_replicas,
        max_replicas=1_000_000,
    )
    max_replicas = overrides.max_replicas or max(2, overrides.min_replicas, 2 * peak(arrivals.trace, load))
    return msgspec.structs.replace(load, max_replicas=max_replicas)
