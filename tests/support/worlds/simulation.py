"""Arrivals and workloads for the simulated queue."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tidegate.simulation.engine import Result, Workload, run
from tidegate.simulation.policies import Fixed
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace


def counts(*numbers: int, step_s: float = 1.0) -> Trace:
    return Trace("counts", step_s, np.array(numbers, dtype=np.int64))


def static(arrivals: Trace, load: Workload, n: int) -> Result:
    return run(Fixed("static", [(0.0, n)]), arrivals, load, initial=n)


# Arrivals, the workload, the requested replicas by time, and the initial replicas.
World = tuple[Trace, Workload, list[tuple[float, int]], int]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    arrivals = counts(*draw(st.lists(st.integers(0, 6), min_size=3, max_size=40)))
    if not arrivals.total:
        arrivals = counts(*arrivals.counts.tolist(), 1)
    load = Workload(
        service_rate=draw(st.sampled_from([0.7, 1.0, 3.3])),
        service_cv=draw(st.sampled_from([0.0, 0.3, 1.0])),
        cold_start_s=draw(st.sampled_from([0.0, 3.7, 12.1])),
        latency_target_s=draw(st.sampled_from([1.0, 2.5, 10.0])),
        batch=draw(st.integers(1, 4)),
        max_age_s=draw(st.sampled_from([4.3, 20.1, 600.0])),
        seed=draw(st.integers(0, 99)),
        elastic=draw(st.sampled_from([None, Elastic()])),
    )
    times = sorted(draw(st.sets(st.integers(1, 39), max_size=5)))
    schedule = [(t + 0.513, draw(st.integers(0, 4))) for t in times if t + 1 < arrivals.duration_s]
    return arrivals, load, schedule, draw(st.integers(0, 3))


def poisson(rate: float, seconds: int, seed: int = 1) -> Trace:
    return Trace("poisson", 1.0, np.random.default_rng(seed).poisson(rate, seconds).astype(np.int64))


def _plain(result: Result) -> dict[str, object]:
    return {
        name: getattr(result, name)
        for name in ("replica_hours", "busy_hours", "attainment", "lost", "p50_s", "p99_s", "worst_s", "timeline")
    }


def both() -> list[object]:
    from tidegate.simulation.oracle import run_oracle

    arrivals = poisson(3, 120)
    load = Workload(service_rate=2, cold_start_s=8, latency_target_s=4, max_age_s=15)
    result = run(Fixed("x", [(0.0, 0), (20.0, 3), (70.0, 1)]), arrivals, load, initial=0)
    return [*_plain(result).values(), run_oracle(counts(*[2] * 10), load).replica_hours]
