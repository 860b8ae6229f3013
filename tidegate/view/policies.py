"""The cost of each scaling policy on a trace, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.trace import Trace
from tidegate.view import records
from tidegate.view.records import Right


def describe(trace: Trace, load: Workload) -> str:
    """Describe the simulation in a line."""
    return (
        f"{trace.name}: {trace.total:,} segments in {trace.duration_s / 3600:.1f} h, {trace.mean_rate:.2f} a second in "
        f"the mean and {trace.peak_rate:.1f} in the busiest {trace.step_s:g} s; a replica does {load.service_rate:g} a "
        f"second after a cold start of {load.cold_start_s:g} s; target {load.latency_target_s:g} s"
    )


FIELDS = (
    "policy",
    *map(Right, ("replica-hours", "of static", "of oracle", "in time", "minutes served", "p50", "p99", "lost")),
    *map(Right, ("starts", "reversals/h")),
)
COST = Right("cost")
LATER = (*map(Right, ("deferred", "backfilled")),)


def fields(results: Sequence[Result], cost_per_hour: float | None = None) -> Sequence[str]:
    later = LATER if _has_deferred(results) else ()
    return (*FIELDS, *later) if cost_per_hour is None else (*FIELDS, *later, COST)


def _has_deferred(results: Sequence[Result]) -> bool:
    return any(r.deferred for r in results)


def rows(results: Sequence[Result], cost_per_hour: float | None = None) -> list[list[str | Text]]:
    """Return a row for each policy; its cost against the static fleet and the oracle, if these are present."""
    has_deferred = _has_deferred(results)
    hours = {r.name: r.replica_hours for r in results}
    found: list[list[str | Text]] = []
    for r in results:
        row: list[str | Text] = [
            Text(r.name, "bold" if r.name.startswith("demand") else ""),
            f"{r.replica_hours:,.2f}",
            _ratio(r, hours.get("static_peak")),
            _ratio(r, hours.get("clairvoyant")),
            f"{r.attainment:.2%}",
            f"{r.window_attainment:.1%}",
            f"{r.p50_s:.2f} s",
            f"{r.p99_s:.1f} s",
            f"{r.lost:,}",
            f"{r.cold_starts:,}",
            f"{r.reversals_per_hour:.1f}",
        ]
        if has_deferred:
            row += [f"{r.deferred_share:.1%}", f"{r.backfilled / r.deferred:.0%}" if r.deferred else ""]
        found.append(row if cost_per_hour is None else [*row, f"{r.replica_hours * cost_per_hour:,.2f}"])
    return found


def table(results: Sequence[Result], cost_per_hour: float | None = None) -> Table:
    return records.table(fields(results, cost_per_hour), rows(results, cost_per_hour))


def _ratio(result: Result, of: float | None) -> str:
    return f"{result.replica_hours / of:.2f}x" if of else ""
