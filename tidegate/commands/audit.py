"""`tidegate audit`: the arrivals so far, the cost of each scaling policy on them, and a recommended ScaledObject."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.text import Text

from shared.client.explain import ask, in_force
from shared.contract.questions.whatif import InForce
from shared.models import measured
from shared.runtime.errors import BusError, SettingError
from tidegate.audit.arrivals import BUDGETS, Arrivals, LoadOverrides, NoArrivals, RateUnknown, from_usage, workload
from tidegate.audit.candidates import Bases, bases, candidate_in_force
from tidegate.audit.costs import ENOUGH, Costs
from tidegate.audit.costs import audit as simulate
from tidegate.audit.pattern import DAY_S, Pattern, pattern, rises
from tidegate.audit.search import Row
from tidegate.client import usage
from tidegate.client.files import written
from tidegate.client.times import instant, now_here
from tidegate.client.usage import Book
from tidegate.commands.options import (
    COUNT,
    COUNT_OR_NONE,
    NEW_FILE,
    RATE,
    SECONDS,
    TIME,
    Number,
    data_option,
    with_admin,
)
from tidegate.commands.simulate import check_plot, load_trace
from tidegate.local.running import default_data
from tidegate.models import store
from tidegate.simulation.engine import Workload
from tidegate.simulation.trace import Trace
from tidegate.view import audit as view
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.screen import TABLE_WIDTH, Screen
from tidegate.view.waiting import Tell, telling

# An older query of a scaler is not current.
CURRENT_S = 60.0


@click.command()
@data_option
@click.argument("service", default="cv")
@click.option("--since", metavar="TIME", default="30d", show_default=True, help=f"Start of the time range: {TIME}.")
@click.option("--trace", help="CSV file of t_s,arrivals to audit, or a synthetic trace of 'simulate', such as days.")
@click.option("--price", type=Number(0), help="Price of a GPU-hour, to print costs as money.")
@click.option(
    "--latency-target",
    "latency_target_s",
    type=SECONDS,
    help="Maximum seconds from arrival to result. Default: as shipped.",
)
@click.option(
    "--cold-start",
    "cold_start_s",
    type=Number(0, 86400),
    help="Seconds until a new replica is ready. Default: as measured.",
)
@click.option(
    "--service-rate",
    type=RATE,
    help="Messages per second of a busy replica. Default: as measured by workers, else of the active model.",
)
@click.option(
    "--min-replicas",
    type=COUNT_OR_NONE,
    default=0,
    show_default=True,
    help="Minimum number of replicas: minReplicaCount; 0 scales to zero.",
)
@click.option(
    "--max-replicas",
    type=COUNT,
    help="Maximum number of replicas: maxReplicaCount. Default: twice the need of the peak.",
)
@click.option(
    "--loss-budget",
    "budgets",
    type=Number(0, 1),
    multiple=True,
    help="Share of frames that may never be analysed: lossBudget. May be repeated.  "
    "[default: 0, 0.005, 0.01, 0.015, 0.02]",
)
@click.option(
    "--serve",
    "enough",
    type=Number(0, 1),
    default=ENOUGH,
    show_default=True,
    help="Share of minutes that must meet the target.",
)
@click.option("--write", "to", type=NEW_FILE, help="File to write the recommended ScaledObject to.")
@click.option("--png", type=NEW_FILE, help="File to draw pattern and costs into: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def audit(data: Path | None, service: str, trace: str | None, since: str, **arguments: Any) -> None:
    """Report the arrival pattern of SERVICE, the cost of each scaling policy, and a recommendation.

    \b
    For the detector:       tidegate audit cv --price 3
    With pods and nodes:    tidegate audit cv --cold-start 180 --png audit.png
    Apply the result:       tidegate audit cv --write cv.yaml && kubectl apply -f cv.yaml
    For other arrivals:     tidegate audit --trace arrivals.csv --service-rate 12

    SERVICE defaults to cv. Workers and ingest record arrivals per minute in the stream USAGE, for up to 100 days. A
    replica counts as one GPU. 'tidegate trace export' exports the arrivals for 'tidegate simulate'.
    """
    load = LoadOverrides(**{name: arguments.pop(name) for name in LoadOverrides.__struct_fields__})
    options = AuditOptions(service=service, load=load, **arguments)
    if options.png:
        check_plot(options.png, "--png")
    if load.max_replicas and load.min_replicas > load.max_replicas:
        raise SettingError(f"--min-replicas {load.min_replicas} is over --max-replicas {load.max_replicas}")
    base, status = bases(service), Screen(stderr=True)
    loaded: list[Arrivals] = []
    force: InForce | None = None
    if trace is not None:
        loaded.append(Arrivals(trace=load_trace(trace)))
    else:
        begin = instant("--since", since, now_here())

        async def work(client: Client) -> None:
            nonlocal force
            force = await _ask_in_force(client, service)
            with telling(status) as tell:
                book = await usage.read(client, begin, lambda n: tell(f"{n:,} messages on usage read"))
            loaded.append(_read_usage(book, service, begin))

        with_admin(data, work)
    if load.service_rate is None and loaded[0].measured.rate is None and service == "cv":
        options = _by_active_model(options, data or default_data())
    out = Screen()
    if not out.is_terminal:
        out.width = TABLE_WIDTH
    run(options, base, loaded[0], out, status, force)


def _by_active_model(options: AuditOptions, data: Path) -> AuditOptions:
    """Return the options with the rate of the active model, if there is one, as no worker has measured any."""
    model = measured.active(store.folder(data))
    if model is None:
        return options
    load = msgspec.structs.replace(options.load, service_rate=model.service_rate)
    return msgspec.structs.replace(options, load=load, rate_source=model.rate_in_words)


async def _ask_in_force(client: Client, service: str) -> InForce | None:
    """Return the settings of a scaler's present query; None if none answers, or nothing scales by demand."""
    with suppress(BusError):
        found = [e for answer in await ask(client, service) for e in answer.found if e.asked_s < CURRENT_S]
        return in_force(min(found, key=lambda e: e.asked_s)) if found else None
    return None


def _read_usage(book: Book, service: str, begin: dt.datetime) -> Arrivals:
    """Return the recorded arrivals. Raise SettingError if there are too few."""
    try:
        return from_usage(book, service, begin)
    except NoArrivals as e:
        raise SettingError(f"{e}, or give --trace") from e


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """to: file for the recommended ScaledObject. rate_source: where a rate is from that is not the user's, in words."""

    service: str
    load: LoadOverrides
    price: float | None = None
    budgets: tuple[float, ...] = ()
    enough: float = ENOUGH
    to: Path | None = None
    png: Path | None = None
    as_json: bool = False
    rate_source: str = ""


def run(
    options: AuditOptions,
    base: Bases,
    arrivals: Arrivals,
    out: Console,
    status: Console,
    force: InForce | None = None,
) -> None:
    """Simulate and print the result. force: the present scaling, None if unknown. Raise SettingError."""
    trace = arrivals.trace
    load = _read_workload(options, base, arrivals)
    arrival_pattern = pattern(trace, arrivals.known, arrivals.begins)
    rise_count = rises(trace, load.service_rate, load.cold_start_s)
    if not options.as_json:
        for line in _summary_lines(options, arrivals, load, arrival_pattern, rise_count):
            out.print(Text(line), soft_wrap=True)
    with telling(status) as tell:
        extra = [candidate_in_force(base, load, force)] if force else []
        costs = simulate(base, trace, load, options.budgets or BUDGETS, enough=options.enough, extra=extra, tell=tell)
        if options.png:
            _draw(options.png, arrivals, arrival_pattern, costs, options.price, tell)
    candidate = costs.chosen.candidate
    assert candidate
    if options.to:
        with written(options.to, "--write") as part:
            part.write_text(candidate.text)
    if options.as_json:
        out.print_json(json.dumps(_fields(options, arrivals, load, arrival_pattern, rise_count, costs)))
        return
    _print_costs(options, trace, costs, out)
    if options.to:
        status.print(f"ScaledObject in {options.to}", markup=False, soft_wrap=True)
    else:
        echo(f"\n{candidate.text}", nl=False)


def _read_workload(options: AuditOptions, base: Bases, arrivals: Arrivals) -> Workload:
    """Return the workload to simulate. Raise SettingError if no rate is measured or set."""
    try:
        return workload(base, arrivals, options.load)
    except RateUnknown as e:
        raise SettingError(
            f"{e}: give --service-rate, messages a second. 'tidegate explain' shows it, and 'tidegate model add' "
            "measures it"
        ) from e


def _summary_lines(
    options: AuditOptions, arrivals: Arrivals, load: Workload, arrival_pattern: Pattern, rise_count: int
) -> Iterator[str]:
    trace = arrivals.trace
    yield from view.arrived(trace, arrival_pattern, arrivals.begins)
    if trace.duration_s >= DAY_S:
        yield ""
        yield from view.week(arrival_pattern)
        yield ""
    else:
        yield "less than a day is known: how day and week go can't be seen yet"
    yield view.rising(rise_count, load, trace.duration_s)
    yield from view.worker_totals(arrivals.measured)
    if options.rate_source:
        yield options.rate_source
    is_rate_set, is_cold_start_set = options.load.service_rate is not None, options.load.cold_start_s is not None
    yield from view.sources(load, arrivals.measured, is_rate_set=is_rate_set, is_cold_start_set=is_cold_start_set)
    yield from view.cameras(arrivals.cameras)
    yield from view.doubts(arrivals)


def _print_costs(options: AuditOptions, trace: Trace, costs: Costs, out: Console) -> None:
    out.print()
    if out.is_terminal:
        records.show(out, view.fields(options.price), view.rows(costs, options.price), "nothing")
    else:
        out.print(view.table(costs, options.price))
    for line in (*(f"{row.label}: {row.settings}" for row in costs.rows), *view.simulated(trace, costs)):
        out.print(Text(line, "dim"), soft_wrap=True)
    out.print()
    fields, rows = view.decision_fields(options.price), view.decision(costs, options.price)
    if out.is_terminal:
        records.show(out, fields, rows, "nothing")
    else:
        out.print(records.table(fields, rows))
    out.print()
    for line in view.chosen(costs, options.price):
        out.print(Text(line), soft_wrap=True)


def _draw(
    path: Path, arrivals: Arrivals, arrival_pattern: Pattern, costs: Costs, price: float | None, tell: Tell
) -> None:
    from tidegate.drawing.audit import draw

    tell("drawing")
    with written(path, "--png") as part:
        draw(part, arrivals.trace, arrival_pattern, costs, begins=arrivals.begins, price=price)


def _fields(
    options: AuditOptions, arrivals: Arrivals, load: Workload, arrival_pattern: Pattern, rise_count: int, costs: Costs
) -> dict[str, Any]:
    trace, candidate = arrivals.trace, costs.chosen.candidate
    assert candidate
    return {
        "service": options.service,
        "begins": arrivals.begins.isoformat() if arrivals.begins else None,
        "duration_s": trace.duration_s,
        "known": arrival_pattern.known,
        "arrivals": trace.total,
        "mean": arrival_pattern.mean,
        "peak": arrival_pattern.peak,
        "peak_over_mean": arrival_pattern.peak_over_mean,
        "lull": arrival_pattern.lull,
        "rises": rise_count,
        "week": [[_finite(rate) for rate in hours] for hours in arrival_pattern.week.tolist()],
        "service_rate": load.service_rate,
        "service_rate_source": options.rate_source,
        "cold_start_s": load.cold_start_s,
        "latency_target_s": load.latency_target_s,
        "quiet": arrivals.measured.static_share,
        "left_out": arrivals.measured.deferred_share,
        "ways": {row.name: _way(row, costs, options.price) for row in costs.rows},
        "recommended": costs.chosen.name,
        "runner_up": costs.runner_up.name if costs.runner_up else None,
        "again": _way(Row(candidate, costs.again), costs, options.price),
        "sooner": _sooner(costs, options.price),
        "simulations": costs.trials,
        "saved": {
            "against": costs.baseline.name,
            "against_gpu_hours_30d": costs.a_month(costs.baseline),
            "gpu_hours_30d": costs.saved(costs.chosen),
            "cost_30d": None if options.price is None else costs.saved(costs.chosen) * options.price,
        },
        "scaled_object": candidate.text,
    }


def _way(row: Row, costs: Costs, price: float | None) -> dict[str, Any]:
    """Return the fields of one way to scale."""
    r, hours = row.result, costs.a_month(row)
    return {
        "settings": row.candidate.settings if row.candidate else "",
        "gpu_hours_30d": hours,
        "cost_30d": None if price is None else hours * price,
        "minutes_served": r.window_attainment,
        "p99_s": _finite(r.p99_s),
        "left_out": r.deferred_share,
        "never_share": r.never_share,
        "deferred": r.deferred,
        "backfilled": r.backfilled,
    }


def _sooner(costs: Costs, price: float | None) -> dict[str, Any] | None:
    """Return the fields of demand with a shorter cold start."""
    sooner = costs.sooner
    return {"cold_start_s": sooner.cold_start_s, **_way(sooner.row, costs, price)} if sooner else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
