"""`tidegate audit`: what arrived so far, what each way to scale would have cost on it, and the ScaledObject for it."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.text import Text

from services.scaler.simulation.engine import Workload
from services.scaler.simulation.trace import Trace
from shared.runtime.errors import SettingError
from tidegate.audit.arrivals import BUDGETS, Arrivals, LoadOverrides, NoArrivals, RateUnknown, from_usage, workload
from tidegate.audit.candidates import Bases, bases
from tidegate.audit.costs import ENOUGH, Costs
from tidegate.audit.costs import audit as simulate
from tidegate.audit.pattern import DAY_S, Pattern, pattern, rises
from tidegate.client import usage
from tidegate.client.files import written
from tidegate.client.times import instant, now_here
from tidegate.client.used import Book
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
from tidegate.commands.simulate import TABLE_WIDTH, check_plot, find
from tidegate.view import audit as view
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.screen import Screen
from tidegate.view.waiting import Tell, telling


@click.command()
@data_option
@click.argument("service", default="cv")
@click.option("--since", metavar="TIME", default="30d", show_default=True, help=f"Begin there: {TIME}.")
@click.option("--trace", help="Audit this CSV file of t_s,arrivals, or one that 'simulate' makes up, such as days.")
@click.option("--price", type=Number(0), help="Print what replicas at this price of a GPU-hour cost.")
@click.option("--latency-target", type=SECONDS, help="Seconds from arrival to result. Default: as the service ships.")
@click.option(
    "--cold-start", type=Number(0, 86400), help="Seconds until a replica works. Default: as measured of processes."
)
@click.option("--service-rate", type=RATE, help="Messages that a busy replica does in a second. Default: as measured.")
@click.option("--min-replicas", type=COUNT_OR_NONE, default=0, show_default=True, help="minReplicaCount.")
@click.option("--max-replicas", type=COUNT, help="maxReplicaCount. Default: twice what the peak needs.")
@click.option(
    "--defer-budget",
    "budgets",
    type=Number(0, 1),
    multiple=True,
    help="Try this share of frames that may be left out at first; may be repeated.  [default: 0, 0.02, 0.06]",
)
@click.option(
    "--serve", "enough", type=Number(0, 1), default=ENOUGH, show_default=True, help="Share of minutes to be served."
)
@click.option("--write", "to", type=NEW_FILE, help="Write the recommended ScaledObject into this file.")
@click.option("--png", type=NEW_FILE, help="Draw pattern and costs into this file, a .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def audit(data: Path | None, service: str, trace: str | None, since: str, **given: Any) -> None:
    """Say how what SERVICE has to do goes over day and week, what each way to scale would have cost, and which to take.

    \b
    Of the detector:        tidegate audit cv --price 3
    With pods and nodes:    tidegate audit cv --cold-start 180 --png audit.png
    To apply it:            tidegate audit cv --write cv.yaml && kubectl apply -f cv.yaml
    Of another's arrivals:  tidegate audit --trace arrivals.csv --service-rate 12

    SERVICE is cv where none is given. Workers and ingest keep what arrives, a minute at a time, for up to 100 days, in
    the stream USAGE. A replica counts as one GPU. 'tidegate trace export' gives the arrivals for 'tidegate simulate'.
    """
    options = AuditOptions(service=service, **given)
    if options.png:
        check_plot(options.png, "--png")
    if options.max_replicas and options.min_replicas > options.max_replicas:
        raise SettingError(f"--min-replicas {options.min_replicas} is over --max-replicas {options.max_replicas}")
    of, status = bases(service), Screen(stderr=True)
    found: list[Arrivals] = []
    if trace is not None:
        found.append(Arrivals(trace=find(trace)))
    else:
        begin = instant("--since", since, now_here())

        async def work(client: Client) -> None:
            with telling(status) as tell:
                book = await usage.read(client, begin, lambda n: tell(f"{n:,} messages on usage read"))
            found.append(_arrived(book, service, begin))

        with_admin(data, work)
    out = Screen()
    if not out.is_terminal:
        out.width = TABLE_WIDTH
    run(options, of, found[0], out, status)


def _arrived(book: Book, service: str, begin: dt.datetime) -> Arrivals:
    """Raises SettingError where there is nothing to go by yet."""
    try:
        return from_usage(book, service, begin)
    except NoArrivals as e:
        raise SettingError(f"{e}, or give --trace") from e


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """None: as measured, or as shipped. to: where the recommended file goes."""

    service: str
    price: float | None = None
    latency_target: float | None = None
    cold_start: float | None = None
    service_rate: float | None = None
    min_replicas: int = 0
    max_replicas: int | None = None
    budgets: tuple[float, ...] = ()
    enough: float = ENOUGH
    to: Path | None = None
    png: Path | None = None
    as_json: bool = False


def run(options: AuditOptions, of: Bases, arrived: Arrivals, out: Console, status: Console) -> None:
    """Simulate and print. Raises SettingError."""
    trace = arrived.trace
    load = _load(options, of, arrived)
    shape = pattern(trace, arrived.known, arrived.begins)
    count = rises(trace, load.service_rate, load.cold_start_s)
    if not options.as_json:
        for line in _said(options, arrived, load, shape, count):
            out.print(Text(line), soft_wrap=True)
    with telling(status) as tell:
        costs = simulate(of, trace, load, options.budgets or BUDGETS, enough=options.enough, tell=tell)
        if options.png:
            _draw(options.png, arrived, shape, costs, options.price, tell)
    candidate = costs.chosen.candidate
    assert candidate
    if options.to:
        with written(options.to, "--write") as part:
            part.write_text(candidate.text)
    if options.as_json:
        out.print_json(json.dumps(_fields(options, arrived, load, shape, count, costs)))
        return
    _show(options, trace, costs, out)
    if options.to:
        status.print(f"ScaledObject in {options.to}", markup=False, soft_wrap=True)
    else:
        echo(f"\n{candidate.text}", nl=False)


def _load(options: AuditOptions, of: Bases, arrived: Arrivals) -> Workload:
    """Raises SettingError where nobody has said or shown what a replica does."""
    asked = LoadOverrides(
        service_rate=options.service_rate,
        cold_start_s=options.cold_start,
        latency_target_s=options.latency_target,
        min_replicas=options.min_replicas,
        max_replicas=options.max_replicas,
    )
    try:
        return workload(of, arrived, asked)
    except RateUnknown as e:
        raise SettingError(
            f"{e}: give --service-rate, messages a second. 'tidegate explain' shows it, and 'make gpu' measures it"
        ) from e


def _said(options: AuditOptions, arrived: Arrivals, load: Workload, shape: Pattern, count: int) -> Iterator[str]:
    trace = arrived.trace
    yield from view.arrived(trace, shape, arrived.begins)
    if trace.duration_s >= DAY_S:
        yield ""
        yield from view.week(shape)
        yield ""
    else:
        yield "less than a day is known: how day and week go can't be seen yet"
    yield view.rising(count, load, trace.duration_s)
    yield from view.worker_totals(arrived.measured)
    given = (options.service_rate is not None, options.cold_start is not None)
    yield from view.sources(load, arrived.measured, is_rate_set=given[0], is_cold_start_set=given[1])
    yield from view.cameras(arrived.cameras, trace.duration_s)
    yield from view.doubts(arrived)


def _show(options: AuditOptions, trace: Trace, costs: Costs, out: Console) -> None:
    out.print()
    if out.is_terminal:
        records.show(out, view.fields(options.price), view.rows(costs, options.price), "nothing")
    else:
        out.print(view.table(costs, options.price))
    for line in (*(f"{row.name}: {view.settings(row)}" for row in costs.rows), *view.simulated(trace, costs)):
        out.print(Text(line, "dim"), soft_wrap=True)
    out.print()
    for line in view.chosen(costs, options.price):
        out.print(Text(line), soft_wrap=True)


def _draw(path: Path, arrived: Arrivals, shape: Pattern, costs: Costs, price: float | None, tell: Tell) -> None:
    from tidegate.drawing.audit import draw

    tell("drawing")
    with written(path, "--png") as part:
        draw(part, arrived.trace, shape, costs, begins=arrived.begins, price=price)


def _fields(
    options: AuditOptions, arrived: Arrivals, load: Workload, shape: Pattern, count: int, costs: Costs
) -> dict[str, Any]:
    trace, candidate = arrived.trace, costs.chosen.candidate
    assert candidate
    return {
        "service": options.service,
        "begins": arrived.begins.isoformat() if arrived.begins else None,
        "duration_s": trace.duration_s,
        "known": shape.known,
        "arrivals": trace.total,
        "mean": shape.mean,
        "peak": shape.peak,
        "peak_over_mean": shape.peak_over_mean,
        "lull": shape.lull,
        "rises": count,
        "week": [[_finite(rate) for rate in hours] for hours in shape.week.tolist()],
        "service_rate": load.service_rate,
        "cold_start_s": load.cold_start_s,
        "latency_target_s": load.latency_target_s,
        "quiet": arrived.measured.quiet,
        "left_out": arrived.measured.left_out,
        "ways": {
            row.name: {
                "settings": row.candidate.settings if row.candidate else "",
                "gpu_hours_30d": costs.a_month(row),
                "cost_30d": None if options.price is None else costs.a_month(row) * options.price,
                "minutes_served": row.result.window_attainment,
                "p99_s": _finite(row.result.p99_s),
                "left_out": row.result.left_out,
                "deferred": row.result.deferred,
                "backfilled": row.result.backfilled,
            }
            for row in costs.rows
        },
        "recommended": costs.chosen.name,
        "scaled_object": candidate.text,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
