"""What an audit goes by: what arrived, what workers have shown of themselves, and what somebody says instead. Pure.

arrived = of_usage(book, "cv", begin)
load = workload(bases("cv"), arrived, Asked(cold_start_s=180))
"""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.contract.usage import MINUTE_S
from shared.runtime.errors import SettingError
from tidegate.audit.candidates import Bases
from tidegate.audit.measured import Measured
from tidegate.client.used import Book, CameraTotal
from tidegate.simulation.compare import peak
from tidegate.simulation.engine import Workload
from tidegate.simulation.trace import Trace

BUDGETS = (0.0, 0.02, 0.06)
LEAST_S = 300


class NothingArrived(SettingError):
    """Too little is known of what arrives: somebody has to give a trace."""


class Unmeasured(SettingError):
    """What a replica does was neither measured nor said."""


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """begins: None of a trace, which knows no clock. bad: messages that could not be read."""

    trace: Trace
    known: NDArray[np.bool_] | None = None
    begins: dt.datetime | None = None
    measured: Measured = msgspec.field(default_factory=lambda: Measured.of(()))
    cameras: dict[str, CameraTotal] = {}
    from_cameras: int = 0
    bad: int = 0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """None: as measured, or as shipped; of max_replicas: twice what the peak needs."""

    service_rate: float | None = None
    cold_start_s: float | None = None
    latency_target_s: float | None = None
    min_replicas: int = 0
    max_replicas: int | None = None


def of_usage(book: Book, service: str, begin: dt.datetime) -> Arrived:
    """Raises NothingArrived where there is nothing to go by yet."""
    used = book.of(service, since=int(begin.timestamp()) // MINUTE_S)
    if used is None or not used.arrivals.any():
        others = [s for s in book.services if s != service]
        where = f"; there is something of {', '.join(others)}" if others else ""
        raise NothingArrived(
            f"nothing is known yet of what arrives at {service}{where}. Workers say it every ten minutes and as they "
            "end, ingest every half hour: let them run"
        )
    if len(used.arrivals) * MINUTE_S < LEAST_S:
        raise NothingArrived(
            f"only {len(used.arrivals)} minutes are known so far of what arrives at {service}: ask again in an hour"
        )
    return Arrived(
        trace=Trace(service, float(MINUTE_S), used.arrivals),
        known=used.known,
        begins=dt.datetime.fromtimestamp(used.first * MINUTE_S).astimezone(),
        measured=Measured.of(used.workers),
        cameras=book.cameras,
        from_cameras=used.from_cameras,
        bad=book.bad,
    )


def workload(of: Bases, arrived: Arrived, asked: Asked) -> Workload:
    """Raises Unmeasured where nobody has said or shown what a replica does."""
    rate = asked.service_rate or arrived.measured.rate
    if rate is None:
        raise Unmeasured(f"what a busy replica of {of.name} does was not measured yet")
    cold = asked.cold_start_s if asked.cold_start_s is not None else arrived.measured.cold_start_s
    load = Workload(
        service_rate=rate,
        cold_start_s=float(of.settings["coldStart"]) if cold is None else round(cold, 1),
        latency_target_s=asked.latency_target_s or float(of.settings["latencyTarget"]),
        min_replicas=asked.min_replicas,
        max_replicas=1_000_000,
    )
    most = asked.max_replicas or max(2, asked.min_replicas, 2 * peak(arrived.trace, load))
    return msgspec.structs.replace(load, max_replicas=most)
