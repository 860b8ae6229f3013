"""An audit's figures, sentences and files as an answer. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator

from shared.contract import whatif
from shared.contract.segment import rfc3339
from shared.contract.whatif import (
    MOST_POINTS,
    InForce,
    WhatIfAnswer,
    WhatIfLoad,
    WhatIfRequest,
    WhatIfSaving,
    WhatIfSeries,
)
from tidegate.audit.arrived import Arrived
from tidegate.audit.candidates import Bases, Candidate, in_force
from tidegate.audit.costs import Costs, Row
from tidegate.audit.pattern import DAY_S, pattern, rises
from tidegate.simulation.engine import Workload
from tidegate.view import audit as view
from tidegate.whatif import series

# What a trigger's URL calls the settings in force.
_KEYS = {
    "latency_target_s": "latencyTarget",
    "cold_start_s": "coldStart",
    "headroom": "headroom",
    "lag_threshold": "lagThreshold",
    "defer_budget": "deferBudget",
    "backfill_grace_s": "backfillGrace",
}


def now(of: Bases, given: Workload, force: InForce) -> Candidate:
    """What is in force, as a file."""
    return in_force(
        of, given, {key: f"{getattr(force, name):g}" for name, key in _KEYS.items()}, bends=force.degradable
    )


def answer(asked: WhatIfRequest, arrived: Arrived, given: Workload, costs: Costs) -> WhatIfAnswer:
    rows = [*costs.rows[:-1], *costs.others, costs.rows[-1]]
    chosen = costs.chosen.candidate
    assert chosen
    return WhatIfAnswer(
        table=[_row(row, costs, asked.price) for row in rows],
        series=_series(arrived, costs, rows),
        recommended=costs.chosen.name,
        scaled_object=chosen.text,
        saved=_saved(costs, asked.price),
        load=WhatIfLoad(
            service_rate=given.service_rate,
            cold_start_s=given.cold_start_s,
            latency_target_s=given.latency_target_s,
            min_replicas=given.min_replicas,
            max_replicas=given.max_replicas,
            rate_measured=asked.service_rate is None,
            cold_measured=asked.cold_start_s is None and arrived.measured.cold_start_s is not None,
        ),
        notes=list(_notes(asked, arrived, given, costs)),
    )


def _row(row: Row, costs: Costs, price: float | None) -> whatif.WhatIfRow:
    static, least, r = costs.rows[0].result, costs.rows[-1].result, row.result
    hours = costs.a_month(row)
    return whatif.WhatIfRow(
        name=row.name,
        settings=view.settings(row),
        gpu_hours_30d=hours,
        cost_30d=None if price is None else hours * price,
        of_static=_share(r.replica_hours, static.replica_hours),
        of_oracle=_share(r.replica_hours, least.replica_hours),
        minutes_served=r.window_attainment,
        p99_s=r.p99_s if math.isfinite(r.p99_s) else None,
        deferred_share=r.deferred_share,
        deferred=r.deferred,
        backfilled=r.backfilled,
        recommended=row is costs.chosen,
        scaled_object=row.candidate.text if row.candidate else "",
    )


def _share(hours: float, of: float) -> float | None:
    return hours / of if of else None


def _series(arrived: Arrived, costs: Costs, rows: list[Row]) -> WhatIfSeries:
    edges = series.points(costs.simulated, MOST_POINTS)
    after = dt.timedelta(seconds=costs.first_day * DAY_S)
    return WhatIfSeries(
        begins=rfc3339(arrived.begins + after) if arrived.begins else None,
        step_s=float(edges[1] - edges[0]),
        arrivals=series.rates(costs.simulated, edges),
        replicas={row.name: series.replicas(row.result.timeline, edges) for row in rows},
    )


def _saved(costs: Costs, price: float | None) -> WhatIfSaving:
    """Against what is in force; where nobody says what that is, against the static fleet."""
    against = costs.others[0] if costs.others else costs.rows[0]
    hours = costs.a_month(against) - costs.a_month(costs.chosen)
    return WhatIfSaving(against=against.name, gpu_hours_30d=hours, cost_30d=None if price is None else hours * price)


def _notes(asked: WhatIfRequest, arrived: Arrived, given: Workload, costs: Costs) -> Iterator[str]:
    """The audit's sentences. Of cameras it says nothing: who asks may not see all of them."""
    trace = arrived.trace
    yield from view.arrived(trace, pattern(trace, arrived.known, arrived.begins), arrived.begins)
    yield view.rising(rises(trace, given.service_rate, given.cold_start_s), given, trace.duration_s)
    yield from view.worker_totals(arrived.measured)
    yield from view.doubts(arrived)
    yield from view.simulated(trace, costs)
    yield from view.chosen(costs, asked.price)
    if costs.others:
        yield (
            "now: what the scaler says it is asked for, within the bounds that were given here. What else the "
            "ScaledObject in force says, the scaler does not know"
        )
