"""The input of a policy from a small simulated fleet."""

from __future__ import annotations

import numpy as np

from tidegate.simulation.engine import ScalerView, Workload
from tidegate.simulation.trace import Trace


def instants(arrivals: Trace, load: Workload) -> tuple[list[float], list[float]]:
    chunks = list(arrivals.chunks(load.service_rate, load.service_cv, load.seed))
    return np.concatenate([c.arrived for c in chunks]).tolist(), np.concatenate([c.work for c in chunks]).tolist()


def view(in_system: int, replicas: int, ready: int | None = None) -> ScalerView:
    return ScalerView(
        arrived=0,
        pending=in_system,
        in_flight=0,
        replicas=replicas,
        ready=replicas if ready is None else ready,
        processed=0,
        working_s=0,
    )


# A replica clears ten in the latency target: Knative aims at seven, Ray at ten.
TEN = Workload(service_rate=2, latency_target_s=5)
