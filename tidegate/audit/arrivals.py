"""The inputs of an audit: recorded arrivals, measurements of workers, and the user's overrides. Pure.

arrivals = from_usage(book, "cv", begin)
load = workload(bases("cv"), arrivals, LoadOverrides(cold_start_s=180))
"""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.contract.usage import MINUTE_S
from shared.runtime.errors import SettingError
from tidegate.audit.candidates import Bases
from tidegate.audit.measured import WorkerMeasurements
from tidegate.client.used import Book, CameraTotal
from tidegate.simulation.compare import peak
from tidegate.simulation.engine import Workload
from tidegate.simulation.trace import Trace

BUDGETS = (0.0, 0.02, 0.06)
LEAST_S = 300


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
