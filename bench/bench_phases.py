"""The cost of a load by the phase of the HPA's clock: how much of it is chance.

    python -m bench.bench_phases

The HPA syncs every 15 s, at an arbitrary phase. Demand runs each load for 75 phases of that clock, 0.2 s apart, with
four replicas at most. The spread is (most - least) / mean of the replica-seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np
from rich.console import Console
from rich.table import Table

from services.scaler.consumers.readers import EVERY_S
from tidegate.keda.hpa import SYNC_S
from tidegate.local.scaling.scaled_objects import scaled_object, shipped
from tidegate.simulation import compare
from tidegate.simulation.engine import Workload, run
from tidegate.simulation.policies import KedaDemand
from tidegate.simulation.trace import Trace

PHASES = 75
TARGET = 0.15
COLD_STARTS_S = (5.0, 20.0, 60.0)
MOST_REPLICAS = 4
LATENCY_TARGET_S = 2.0
RATE = 4.5
STEP_S = 0.5
# (seconds, busy replicas). After these, TAIL is long enough to scale to zero.
LOADS: dict[str, Sequence[tuple[float, float]]] = {
    "half, 1.6, half": ((75.0, 0.5), (90.0, 1.6), (60.0, 0.5)),
    "one, 3.2, one": ((75.0, 1.0), (90.0, 3.2), (60.0, 1.0)),
    "surge of a minute": ((120.0, 0.6), (60.0, 3.0), (120.0, 0.6)),
    "waves": ((60.0, 0.5), (60.0, 2.2)) * 3,
    "steady, one": ((240.0, 1.0),),
    "steady, 1.5": ((240.0, 1.5),),
}
REST: tuple[tuple[float, float], ...] = ((20.0, 0.0),)
TAIL: tuple[tuple[float, float], ...] = ((400.0, 0.0),)
SEED = 2

out = Console(width=120, highlight=False)


def costs(name: str, cold_start_s: float, phases: Iterable[int] = range(PHASES)) -> list[float]:
    """Return the replica-seconds of a load for each of these phases. All share the same Poisson arrivals."""
    rng = np.random.default_rng(SEED)
    counts = [
        rng.poisson(busy * RATE * STEP_S, int(seconds / STEP_S)) for seconds, busy in (*REST, *LOADS[name], *TAIL)
    ]
    trace = Trace(name, STEP_S, np.concatenate(counts).astype(np.int64))
    load = Workload(
        service_rate=RATE,
        cold_start_s=cold_start_s,
        latency_target_s=LATENCY_TARGET_S,
        max_replicas=MOST_REPLICAS,
        seed=SEED,
    )
    scaled = compare.demand_scaled(scaled_object("cv", shipped("demand/cv.yaml")), load)
    found = []
    for phase in phases:
        policy = KedaDemand(
            name, scaled, compare.demand_settings(load), observe_s=EVERY_S, sync_after_s=phase / PHASES * SYNC_S
        )
        found.append(run(policy, trace, load, initial=0).replica_hours * 3600)
    return found


def spread(costs: Sequence[float]) -> float:
    return (max(costs) - min(costs)) / fmean(costs)


def main() -> None:
    table = Table("load", "cold start", "least", "mean", "most", "spread", title="replica-seconds over 75 phases")
    worst = 0.0
    for name in LOADS:
        for cold_start_s in COLD_STARTS_S:
            found = costs(name, cold_start_s)
            worst = max(worst, spread(found))
            table.add_row(
                name,
                f"{cold_start_s:g} s",
                f"{min(found):.0f}",
                f"{fmean(found):.0f}",
                f"{max(found):.0f}",
                f"{spread(found):.1%}",
            )
    out.print(table)
    out.print(f"the widest spread is {worst:.1%}; the target is {TARGET:.0%} at most")


if __name__ == "__main__":
    main()
