"""An audit in words: the arrival pattern, the cost of each policy on it, and the recommendation."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from tidegate.audit.arrivals import Arrivals, WorkerMeasurements
from tidegate.audit.costs import MOST_DAYS, TUNED_DAYS, Costs
from tidegate.audit.pattern import DAY_S, HOUR_S, Pattern
from tidegate.audit.search import Row
from tidegate.client.usage import CameraTotal
from tidegate.simulation.engine import Workload
from tidegate.simulation.trace import Trace
from tidegate.view import records
from tidegate.view.records import Right

BARS = " ▁▂▃▄▅▆▇█"
UNKNOWN = "·"
MOST_CAMERAS = 5
FIELDS = ("way to scale", *map(Right, ("GPU-hours in 30 days", "of static", "of oracle", "minutes served", "p99")))
LATER = tuple(map(Right, ("deferred", "backfilled")))
COST = Right("cost in 30 days")


def arrived(trace: Trace, p: Pattern, begins: dt.datetime | None) -> Iterator[str]:
    """Describe the arrivals."""
    span = _length(trace.duration_s)
    if begins:
        ends = begins + dt.timedelta(seconds=trace.duration_s)
        span = f"{begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M}, {span}, of which {p.known:.1%} is known"
    yield f"{trace.name}: {trace.total:,} messages, {span}"
    yield (
        f"{p.mean:.3g} a second in the mean, {p.hour:.3g} in the busiest hour and {p.peak:.3g} in the busiest "
        f"{_step(trace.step_s)}: {p.peak_over_mean:.1f} times the mean. For {p.lull:.0%} of the time less than a tenth "
        "of that arrives"
    )


def week(p: Pattern) -> Iterator[str]:
    """Yield a row of bars for each known day: an hour each, relative to the busiest."""
    top = max((rate for rate in p.week.ravel() if not math.isnan(rate)), default=0.0)
    yield f"       0     6     12    18      a second; {BARS[-1]} is {top:.3g}"
    for name, hours in zip(p.days, p.week, strict=True):
        rates = [rate for rate in hours if not math.isnan(rate)]
        if rates:
            yield f"{name:<6} {''.join(_bar(rate, top) for rate in hours)}  {sum(rates) / len(rates):.3g}"


def _bar(rate: float, top: float) -> str:
    if math.isnan(rate):
        return UNKNOWN
    return BARS[math.ceil(rate / top * (len(BARS) - 1))] if top else BARS[0]


def rising(count: int, load: Workload, duration_s: float) -> str:
    often = f", {count / (duration_s / DAY_S):.1f} a day," if count and duration_s >= DAY_S else ""
    return (
        f"arrivals rose {count:,} times{often} by more than the {load.service_rate:.3g} a second that a replica does "
        f"within the {load.cold_start_s:.3g} s until one that is asked for works"
    )


def worker_totals(m: WorkerMeasurements) -> Iterator[str]:
    """Describe the measured work of workers."""
    if not m.processed:
        return
    yield (
        f"workers were up for {m.replica_hours:,.1f} hours and had messages in flight for "
        f"{m.working_hours / max(m.replica_hours, 1e-9):.0%} of these; {m.processed:,} messages done"
        + (f", {m.static_share:.0%} of them static scenes, which needed no inference" if m.static_share else "")
        + (f"; {m.deferred_share:.1%} of frames were deferred at first" if m.deferred_share else "")
    )


def sources(load: Workload, m: WorkerMeasurements, *, is_rate_set: bool, is_cold_start_set: bool) -> Iterator[str]:
    """Describe the sources of a replica's figures."""
    if not is_rate_set:
        yield f"measured: a busy replica does {load.service_rate:.3g} a second"
    if not is_cold_start_set and m.cold_start_s is not None:
        yield (
            f"measured: a replica is ready {load.cold_start_s:.3g} s after its process began, in the median of "
            f"{m.starts} starts. A pod or a node takes longer to be there: say so by --cold-start"
        )


def cameras(found: Mapping[str, CameraTotal]) -> Iterator[str]:
    """Describe the cameras that sent most."""
    if found:
        most = ", ".join(
            f"{name} {c.seconds / 3600:,.1f} h ({c.megabytes / 1000:,.1f} GB)"
            for name, c in list(found.items())[:MOST_CAMERAS]
        )
        yield f"{len(found):,} {'camera' if len(found) == 1 else 'cameras'} sent video; most of it: {most}"


def doubts(of: Arrivals) -> Iterator[str]:
    """Describe arrivals that workers did not report."""
    if of.from_cameras:
        yield f"in {of.from_cameras:,} minutes no worker said what it took: what cameras sent is counted there"
    if of.bad:
        yield f"{of.bad:,} messages on usage can't be read, and are skipped"


def table(costs: Costs, price: float | None) -> Table:
    return records.table(fields(price), rows(costs, price))


def fields(price: float | None) -> Sequence[str]:
    return (*FIELDS, *LATER) if price is None else (*FIELDS, *LATER, COST)


def rows(costs: Costs, price: float | None) -> list[list[str | Text]]:
    """Return a row for each policy; the recommended one is bold."""
    static, least = costs.rows[0], costs.rows[-1]
    found: list[list[str | Text]] = []
    for row in costs.rows:
        r = row.result
        later = [f"{r.deferred_share:.1%}", f"{r.backfilled / r.deferred:.0%}"] if r.deferred else ["", ""]
        cells: list[str | Text] = [
            Text(row.label, "bold" if row is costs.chosen else ""),
            f"{costs.a_month(row):,.0f}",
            _ratio(r.replica_hours, static.result.replica_hours),
            _ratio(r.replica_hours, least.result.replica_hours),
            f"{r.window_attainment:.1%}",
            f"{r.p99_s:.1f} s",
            *later,
        ]
        found.append(cells if price is None else [*cells, f"{costs.a_month(row) * price:,.0f}"])
    return found


def simulated(trace: Trace, costs: Costs) -> Iterator[str]:
    """Describe the simulated days."""
    days = costs.simulated.duration_s / DAY_S
    if costs.simulated is not trace:
        yield f"simulated: the {MOST_DAYS} days in which most arrived, from day {costs.first_day + 1} on"
    if days > TUNED_DAYS * 1.1:
        yield "the rule by lag is tuned on the busiest day of these"
    if days < MOST_DAYS * 0.9:
        yield f"of {_length(costs.simulated.duration_s)} alone, as if a month went on like that"


def decision_fields(price: float | None) -> Sequence[str]:
    """Return the columns: the cost and the saving in GPU-hours, or in money, and what becomes of minutes and frames."""
    cost = "GPU-hours in 30 days" if price is None else "cost in 30 days"
    return (
        "",
        "way to scale",
        *map(Right, (cost, "saved", "minutes late", "frames analysed at first", "later", "never")),
    )


def decision(costs: Costs, price: float | None) -> list[list[str | Text]]:
    """Return a row for what runs now, or else a fixed fleet, the recommendation, and the runner-up."""
    named = [
        ("now" if costs.others else "without scaling", costs.baseline),
        ("recommended", costs.chosen),
        ("runner-up", costs.runner_up),
    ]
    found: list[list[str | Text]] = []
    for name, row in named:
        if row is None or (row is costs.baseline and found):
            continue
        r, each = row.result, 1.0 if price is None else price
        found.append(
            [
                Text(name, "bold" if row is costs.chosen else ""),
                "the scaler's present settings" if costs.others and row is costs.baseline else row.label,
                f"{costs.a_month(row) * each:,.0f}",
                "" if row is costs.baseline else f"{costs.saved(row) * each:,.0f}",
                f"{1 - r.window_attainment:.1%}",
                f"{1 - r.deferred_share:.1%}",
                f"{r.deferred_share - r.never_share:.1%}",
                f"{r.never_share:.1%}",
            ]
        )
    return found


def chosen(costs: Costs, price: float | None) -> Iterator[str]:
    """Describe the recommendation and its reason."""
    row, against = costs.chosen, costs.baseline
    assert row.candidate
    hours, saved = costs.a_month(row), costs.saved(row)
    cost = f"costs {hours:,.0f} GPU-hours in 30 days" + (f", {hours * price:,.0f} at {price:g} each" if price else "")
    what = "what runs now" if costs.others else "a fixed fleet"
    money = f", {saved * price:,.0f}," if price else ""
    less = f"; that saves {saved:,.0f}{money} against {what}, which costs {costs.a_month(against):,.0f}"
    yield f"recommended: {row.label} ({row.candidate.settings}): {cost}" + (less if saved > 0 else "")
    if other := costs.runner_up:
        yield f"runner-up: {other.label}: {_reason(costs, other, price)}"
    goal = costs.goal
    lost = f" and never analyses {goal.loss:.1%} of the frames at most" if goal.loss < 1 else ""
    yield (
        f"the rule: the cheapest that serves {goal.enough:.0%} of the minutes within the target{lost}, or else the "
        "one that serves most"
    )
    yield from _check(costs, price)
    if row.candidate.degradable:
        yield (
            "its workers analyse fewer frames of waiting segments: they need the component deploy/keda/demand/elastic, "
            "which the overlays' form /demand has, or 'tidegate up'"
        )


def _reason(costs: Costs, other: Row, price: float | None) -> str:
    """Return why the runner-up is not recommended."""
    if costs.goal.holds(other.result):
        more = costs.a_month(other) - costs.a_month(costs.chosen)
        return f"costs {_amount(more, price)} more in 30 days" if round(more * (price or 1)) else "costs the same"
    return f"serves {other.result.window_attainment:.1%} of the minutes, never analyses {other.result.never_share:.1%}"


def _check(costs: Costs, price: float | None) -> Iterator[str]:
    """Describe the second simulation of the recommended file, and a shorter cold start."""
    again = Row(costs.chosen.candidate, costs.again)
    yield (
        f"simulated once more from the file, with other random numbers: {again.result.window_attainment:.1%} "
        f"of the minutes served, {again.result.never_share:.1%} of the frames never analysed, "
        f"{_amount(costs.a_month(again), price)} in 30 days"
        + ("" if costs.goal.holds(again.result) else ". That misses the rule: state more than you need")
    )
    if costs.sooner:
        row = costs.sooner.row
        less = costs.a_month(costs.chosen) - costs.a_month(row)
        worth = f"{_amount(less, price)} less in 30 days: faster nodes are worth that" if less > 0 else "no less"
        yield f"with a cold start of {costs.sooner.cold_start_s:g} s, {row.label} ({row.settings}) costs {worth}"


def _amount(hours: float, price: float | None) -> str:
    return f"{hours:,.0f} GPU-hours" if price is None else f"{hours * price:,.0f}"


def _ratio(hours: float, of: float) -> str:
    return f"{hours / of:.2f}x" if of else ""


def _length(seconds: float) -> str:
    if seconds >= DAY_S:
        return f"{seconds / DAY_S:.1f} days"
    return f"{seconds / HOUR_S:.1f} hours" if seconds >= HOUR_S else f"{seconds / 60:.0f} minutes"


def _step(seconds: float) -> str:
    return "minute" if seconds == 60 else f"{seconds:g} s"
