"""A request, and the arrivals that it names. What can't be used is refused with the field that it is about."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from shared.contract.whatif import MOST_CSV, MOST_REPLICAS, UsageLine, WhatIfRequest
from shared.runtime.errors import SettingError
from tidegate.audit.arrived import Arrived, Asked, NothingArrived, Unmeasured, of_usage, workload
from tidegate.audit.candidates import Bases
from tidegate.audit.costs import MOST_DAYS, busiest
from tidegate.client.used import Book
from tidegate.simulation.engine import Workload
from tidegate.simulation.generate import generated
from tidegate.simulation.trace import parse

# JSON writes each letter of a CSV as one or two.
MOST_LINE = 2 * MOST_CSV + 65_536
MOST_USAGE_LINE = 2 * 1024 * 1024
# More than the stream USAGE can hold, in base64.
MOST_USAGE = 512 * 1024 * 1024
TELL_EVERY = 500
# So many take minutes; more can be thinned out, or given in part.
MOST_MESSAGES = 30_000_000
# Two months of seconds. A file that leaves steps out may name more than there is memory for.
MOST_STEPS = 5_000_000


class Refused(SettingError):
    """field: of the request; empty where it is about none of them alone."""

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


def request(file: BinaryIO) -> WhatIfRequest:
    """The first line. Raises Refused."""
    line = file.readline(MOST_LINE)
    try:
        asked = msgspec.json.decode(line, type=WhatIfRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refused(f"the request can't be used: {e}") from e
    if asked.max_replicas is not None and asked.min_replicas > asked.max_replicas:
        fewer = f"{asked.max_replicas} replicas at most are fewer than {asked.min_replicas} at least"
        raise Refused(fewer, "max_replicas")
    return asked


def arrived(asked: WhatIfRequest, file: BinaryIO, now: dt.datetime, tell: Callable[[str], None]) -> Arrived:
    """What the request says arrives. Raises Refused. file: what follows the request."""
    if asked.arrivals == "made_up":
        return Arrived(trace=next(t for t in generated() if t.name == asked.trace))
    if asked.arrivals == "csv":
        try:
            return Arrived(trace=parse(asked.csv, "arrivals", "the CSV"))
        except SettingError as e:
            raise Refused(str(e), "csv") from e
    try:
        return of_usage(_book(file, tell), asked.service, now - dt.timedelta(days=asked.days))
    except NothingArrived as e:
        raise Refused(f"{e}, or give a CSV", "arrivals") from e


def load(asked: WhatIfRequest, of: Bases, found: Arrived) -> Workload:
    """What is simulated. Raises Refused where it is not known, or too much."""
    steps = len(found.trace.counts)
    if steps > MOST_STEPS:
        raise Refused(f"{steps:,} steps are too many: give {MOST_STEPS:,} at most, or make the rows coarser", "csv")
    part, _ = busiest(found.trace, MOST_DAYS)
    if part.total > MOST_MESSAGES:
        raise Refused(
            f"{part.total:,} messages are too many to simulate: give {MOST_MESSAGES:,} at most, as by fewer days",
            "csv" if asked.arrivals == "csv" else "arrivals",
        )
    try:
        given = workload(
            of,
            found,
            Asked(
                service_rate=asked.service_rate,
                cold_start_s=asked.cold_start_s,
                latency_target_s=asked.latency_target_s,
                min_replicas=asked.min_replicas,
                max_replicas=asked.max_replicas,
            ),
        )
    except Unmeasured as e:
        raise Refused(f"{e}: say how many messages it does in a second", "service_rate") from e
    if given.max_replicas > MOST_REPLICAS:
        raise Refused(
            f"the peak needs {given.max_replicas // 2:,} replicas of {given.service_rate:g} messages a second each, "
            f"and {MOST_REPLICAS // 2:,} can be simulated: give a higher rate, or how many there are at most",
            "service_rate",
        )
    return given


def _book(file: BinaryIO, tell: Callable[[str], None]) -> Book:
    book, size = Book(), 0
    for n, line in enumerate(iter(lambda: file.readline(MOST_USAGE_LINE), b""), 1):
        size += len(line)
        try:
            usage = msgspec.json.decode(line, type=UsageLine)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise Refused(f"line {n} of what was used can't be read: {e}") from e
        if size > MOST_USAGE:
            raise Refused("more was used than can be read: ask for fewer days", "days")
        book.take(usage.subject, usage.stored_at, usage.data)
        if n % TELL_EVERY == 0:
            tell(f"{n:,} messages on usage read")
    return book
