"""The way of a request from its first line to its answer: an audit's figures, sentences and manifests."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import BinaryIO

from shared.contract.questions import whatif
from shared.contract.questions.whatif import (
    MOST_POINTS,
    WhatIfAnswer,
    WhatIfLoad,
    WhatIfRequest,
    WhatIfSaving,
    WhatIfSeries,
)
from shared.contract.segment import rfc3339
from tidegate.audit.arrivals import Arrivals
from tidegate.audit.candidates import bases, candidate_in_force
from tidegate.audit.costs import Costs, audit
from tidegate.audit.pattern import DAY_S, pattern, rises
from tidegate.audit.search import Row
from tidegate.simulation import series
from tidegate.simulation.engine import Workload
from tidegate.view import audit as view
from tidegate.whatif import requests
from tidegate.whatif.progress import ProgressWriter


def _answer(request: WhatIfRequest, arrivals: Arrivals, load: Workload, costs: Costs) -> WhatIfAnswer:
    rows = [*costs.rows[:-1], *costs.others, costs.rows[-1]]
    chosen = costs.chosen.candidate
    assert chosen
    return WhatIfAnswer(
        table=[_row(row, costs, request.price) for row in rows],
        series=_series(arrivals, costs, rows),
        recommended=costs.chosen.name,
        scaled_object=chosen.text,
        saved=_saved(costs, request.price),
        load=WhatIfLoad(
            service_rate=load.service_rate,
            cold_start_s=load.cold_start_s,
            latency_target_s=load.latency_target_s,
            min_replicas=load.min_replicas,
            max_replicas=load.max_replicas,
            rate_measured=request.service_rate is None,
            cold_measured=request.cold_start_s is None and arrivals.measured.cold_start_s is not None,
        ),
        notes=list(_notes(request, arrivals, load, costs)),
    )


def _row(row: Row, costs: Costs, price: float | None) -> whatif.WhatIfRow:
    static, least, r = costs.rows[0].result, costs.rows[-1].result, row.result
    hours = costs.a_month(row)
    return whatif.WhatIfRow(
        name=row.name,
        settings=row.settings,
        gpu_hours_30d=hours,
        cost_30d=None if price is None else hours * price,
        of_static=_share(r.replica_hours, static.replica_hours),
        of_oracle=_share(r.replica_hours, least.replica_hours),
        minutes_served=r.window_attainment,
        p99_s=r.p99_s if math.isfinite(r.p99_s) else None,
        deferred_share=r.deferred_share,
        deferred=r.deferred,
        backfilled=r.backfilled,
        never_share=r.never_share,
        recommended=row is costs.chosen,
        scaled_object=row.candidate.text if row.candidate else "",
    )


def _share(hours: float, base: float) -> float | None:
    return hours / base if base else None


def _series(arrivals: Arrivals, costs: Costs, rows: list[Row]) -> WhatIfSeries:
    edges = series.points(costs.simulated, MOST_POINTS)
    after = dt.timedelta(seconds=costs.first_day * DAY_S)
    return WhatIfSeries(
        begins=rfc3339(arrivals.begins + after) if arrivals.begins else None,
        step_s=float(edges[1] - edges[0]),
        arrivals=series.rates(costs.simulated, edges).round(4).tolist(),
        replicas={row.name: series.replicas(row.result.timeline, edges).round(4).tolist() for row in rows},
    )


def _saved(costs: Costs, price: float | None) -> WhatIfSaving:
    """Return the saving against the settings in force, or against the static fleet if the request has none."""
    hours = costs.saved(costs.chosen)
    cost = None if price is None else hours * price
    return WhatIfSaving(against=costs.baseline.name, gpu_hours_30d=hours, cost_30d=cost)


def _notes(request: WhatIfRequest, arrivals: Arrivals, load: Workload, costs: Costs) -> Iterator[str]:
    """Yield the audit's sentences, without cameras: the requester may not have access to all of them."""
    trace = arrivals.trace
    yield from view.arrived(trace, pattern(trace, arrivals.known, arrivals.begins), arrivals.begins)
    yield view.rising(rises(trace, load.service_rate, load.cold_start_s), load, trace.duration_s)
    yield from view.worker_totals(arrivals.measured)
    yield from view.doubts(arrivals)
    yield from view.simulated(trace, costs)
    yield from view.chosen(costs, request.price)
    if costs.others:
        yield (
            "now: what the scaler says it is asked for, within the bounds that were given here. What else the "
            "ScaledObject in force says, the scaler does not know"
        )


def simulate(file: BinaryIO, pool: Executor, progress: ProgressWriter) -> WhatIfAnswer:
    """Read a request, simulate and return the answer. Raise TidegateError for invalid input."""
    request = requests.read_request(file)
    base = bases(request.service)
    progress.set_step("reading what arrived")
    arrivals = requests.read_arrivals(request, file, dt.datetime.now(dt.UTC), progress.set_step)
    load = requests.read_workload(request, base, arrivals)
    costs = audit(
        base,
        arrivals.trace,
        load,
        request.budgets,
        enough=request.enough,
        kinds=request.policies,
        extra=[candidate_in_force(base, load, request.in_force)] if request.in_force else [],
        pool=pool,
        tell=progress.set_step,
        done=progress.set_share,
    )
    progress.set_step("writing it down")
    return _answer(request, arrivals, load, costs)
