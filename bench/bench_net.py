"""The fallback trigger on deferred work: its effect while the scaler is down, and its cost next to demand.

    python -m bench.bench_net [--traces DIR] [--hours HOURS]

Its threshold is what one replica backfills in a share of MEDIA's retention. Scaler down: an overload of a few times
the capacity, for forty minutes. Next to demand: every run of `bench_scaling`, and a surge of ten minutes for which the
fleet may or may not grow.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.bench_scaling import COLD_STARTS_S, LATENCY_TARGET_S, load_of
from shared.contract import names
from tidegate.keda.scaledobject import JetStreamTrigger, ScaledObject
from tidegate.keda.threshold import FALLBACK_DEFERRED, lag_threshold
from tidegate.local.scaling.scaled_objects import scaled_object, shipped
from tidegate.simulation.compare import demand_settings, initial
from tidegate.simulation.engine import Result, Workload, run
from tidegate.simulation.generate import generated
from tidegate.simulation.policies import KedaDemand, KedaLag
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace, read

SHARES = (0.0, 1.0, FALLBACK_DEFERRED, 0.25)
BUDGETS = (0.02, 0.06)
LOAD = Workload(service_rate=13.4, cold_start_s=60, latency_target_s=2, max_replicas=100, elastic=Elastic())
out = Console(width=160, highlight=False)


def with_fallback(scaled: ScaledObject, load: Workload, share: float) -> ScaledObject:
    """Return it with both fallback triggers for this load; share: 0 omits the one on deferred work."""
    t = lag_threshold(load.service_rate, load.latency_target_s, cold_start_s=load.cold_start_s)
    fallback_triggers = [JetStreamTrigger(stream=names.MEDIA, consumer="cv", lag_threshold=t.fallback)]
    if share:
        lag = max(1, round(share * load.max_age_s * load.service_rate))
        fallback_triggers.append(
            JetStreamTrigger(
                stream=names.BACKFILL, consumer="cv-backfill", lag_threshold=lag, activation_lag_threshold=10**9
            )
        )
    bounds = {"min_replica_count": load.min_replicas, "max_replica_count": load.max_replicas}
    spec = msgspec.structs.replace(scaled.spec, **bounds)
    return msgspec.structs.replace(scaled, spec=spec, triggers=(scaled.triggers[0], *fallback_triggers))


def poisson(rates: list[float], seconds: list[int]) -> Trace:
    counts = np.random.default_rng(1).poisson(np.repeat(rates, seconds))
    return Trace("surge", 1.0, counts.astype(np.int64))


def with_demand(scaled: ScaledObject, trace: Trace, load: Workload, share: float) -> Result:
    policy = KedaDemand("there", with_fallback(scaled, load, share), demand_settings(load))
    return run(policy, trace, load, initial=initial(trace, load))


def without_scaler(scaled: ScaledObject) -> None:
    columns = (
        "replicas at first",
        "load",
        "a replica for",
        "after 5, 10, 40 min",
        "deferred",
        "backfilled",
        "p99",
        "hours",
    )
    table = Table(*columns)
    for first in (1, 4):
        for times in (1.5, 2.0, 4.0):
            for share in SHARES:
                trace = poisson([times * first * LOAD.service_rate], [2400])
                result = run(KedaLag("away", with_fallback(scaled, LOAD, share)), trace, LOAD, initial=first)
                counts = [[n for at, n in result.timeline if at <= s][-1] for s in (300, 600, 2400)]
                table.add_row(
                    f"{first}", f"{times:g}", f"{share:.0%}" if share else "", ", ".join(map(str, counts)),
                    f"{result.deferred / trace.total:.0%}", f"{result.backfilled / max(1, result.deferred):.0%}",
                    f"{result.p99_s:.1f} s", f"{result.replica_hours:.2f}",
                )  # fmt: skip
    out.print("while the scaler is away, 40 minutes", style="bold")
    out.print(table)


def surges(scaled: ScaledObject) -> None:
    table = Table("most replicas", "cold start", "surge", "deferred", *(f"a replica for {s:.0%}" for s in SHARES[1:]))
    for most in (8, 40):
        for cold_start_s in (60.0, 300.0):
            for times in (4.0, 8.0, 16.0):
                load = msgspec.structs.replace(LOAD, cold_start_s=cold_start_s, max_replicas=most)
                trace = poisson([r * LOAD.service_rate for r in (0.7, times, 0.7, 0)], [3600, 600, 3600, 1200])
                without, *results = [with_demand(scaled, trace, load, share) for share in SHARES]
                cells = [f"{r.replica_hours / without.replica_hours:.3f}" for r in results]
                table.add_row(f"{most}", f"{cold_start_s:g} s", f"{times:g}", f"{without.deferred_share:.0%}", *cells)
    out.print(
        "\nbeside demand, a surge of ten minutes to some times what a replica does: cost, of that without", style="bold"
    )
    out.print(table)


def runs(scaled: ScaledObject, folder: Path, hours: float) -> None:
    table = Table("budget", "a replica for", "cost of that without", "at most", "where", "minutes served")
    traces = [read(path) for path in sorted(folder.glob("*.csv"))] + generated()
    for budget in BUDGETS:
        found: dict[float, list[tuple[float, str, float]]] = {share: [] for share in SHARES}
        for whole in traces:
            trace = Trace(whole.name, whole.step_s, whole.counts[: max(2, int(hours * 3600 / whole.step_s))])
            for cold_start_s in COLD_STARTS_S:
                load = load_of(trace, cold_start_s, LATENCY_TARGET_S)
                load = msgspec.structs.replace(load, elastic=Elastic(), loss_budget=budget)
                results = [with_demand(scaled, trace, load, share) for share in SHARES]
                for share, result in zip(SHARES, results, strict=True):
                    cost = result.replica_hours / results[0].replica_hours
                    found[share].append((cost, f"{trace.name}, {cold_start_s:g} s", result.window_attainment))
        for share, rows in found.items():
            most = max(rows)
            table.add_row(
                f"{budget:.0%}", f"{share:.0%}" if share else "", f"{fmean(r[0] for r in rows):.4f}", f"{most[0]:.3f}",
                most[1] if most[0] > 1 else "", f"{fmean(r[2] for r in rows):.1%}",
            )  # fmt: skip
    out.print(f"\nbeside demand, {len(traces)} traces at {len(COLD_STARTS_S)} cold starts", style="bold")
    out.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--hours", type=float, default=12.0, help="of each trace")
    args = parser.parse_args()
    scaled = scaled_object("cv", shipped("demand/cv.yaml"))
    without_scaler(scaled)
    surges(scaled)
    runs(scaled, args.traces, args.hours)


if __name__ == "__main__":
    main()
