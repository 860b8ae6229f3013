"""The cost of each scaling policy on a trace, as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidegate.simulation.compare import Progress
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.trace import Trace
from tidegate.view import records
from tidegate.view.records import Right
from tidegate.view.waiting import Tell
from tidegate.view.words import duration


def describe(trace: Trace, load: Workload) -> str:
    """Describe the simulation in a line."""
    return (
        f"{trace.name}: {trace.total:,} segments in {trace.duration_s / 3600:.1f} h, {trace.mean_rate:.2f} a second in "
        f"the mean and {trace.peak_rate:.1f} in the busiest {trace.step_s:g} s; a replica does {load.service_rate:g} a "
        f"second after a cold start of {load.cold_start_s:g} s; target {load.latency_target_s:g} s"
    )


class ProgressLines:
    """Shows a comparison on standard error: each policy as it is done, how many are, and an estimate of the rest."""

    def __init__(self, out: Console, tell: Tell) -> None:
        self._out = out
        self._tell = tell
        self._began = time.monotonic()

    def report(self, p: Progress) -> None:
        """Show a step. A policy's row is printed above the changing line."""
        passed = time.monotonic() - self._began
        if not (p.share or self._out.is_terminal):
            self._out.print(f"simulating {p.count} policies; the first run compiles the simulator", soft_wrap=True)
            return
        count = f"{p.done} of {p.count} policies after {passed:.0f} s"
        rest = f", about {duration(passed * (1 - p.share) / p.share)} left" if 0 < p.share < 1 else ""
        if r := p.result:
            row = f"{r.name}: {r.replica_hours:,.2f} replica-hours, {r.window_attainment:.1%} of minutes served"
            self._out.print(f"{row} ({count}{rest})", style="dim", markup=False, soft_wrap=True)
        self._tell(f"simulating: {count}{rest}" + (f"; {p.doing}" if p.doing else ""))


FIELDS = (
    "policy",
    *map(Right, ("replica-hours", "of static", "of oracle", "in time", "minutes served", "p50", "p99", "lost")),
    *map(Right, ("starts", "reversals/h")),
)
COST = Right("cost")
LATER = (*map(Right, ("deferred", "backfilled", "never")),)


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
            backfilled = f"{r.backfilled / r.deferred:.0%}" if r.deferred else ""
            row += [f"{r.deferred_share:.1%}", backfilled, f"{r.never_share:.2%}"]
        found.append(row if cost_per_hour is None else [*row, f"{r.replica_hours * cost_per_hour:,.2f}"])
    return found


def table(results: Sequence[Result], cost_per_hour: float | None = None) -> Table:
    return records.table(fields(results, cost_per_hour), rows(results, cost_per_hour))


def _ratio(result: Result, of: float | None) -> str:
    return f"{result.replica_hours / of:.2f}x" if of else ""
