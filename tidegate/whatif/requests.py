"""A request, and the arrivals that it names. A refusal names the invalid field."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from shared.contract.questions.whatif import MOST_CSV, MOST_REPLICAS, UsageLine, WhatIfRequest
from shared.runtime.errors import SettingError
from tidegate.audit.arrivals import Arrivals, LoadOverrides, NoArrivals, RateUnknown, from_usage, workload
from tidegate.audit.candidates import Bases
from tidegate.audit.costs import MOST_DAYS, busiest
from tidegate.client.usage import Book
from tidegate.simulation.engine import Workload
from tidegate.simulation.generate import generated
from tidegate.simulation.trace import parse

# JSON may escape each character of a CSV, with a second one.
MOST_LINE = 2 * MOST_CSV + 65_536
MOST_USAGE_LINE = 2 * 1024 * 1024
# More than a full USAGE stream in base64.
MOST_USAGE = 512 * 1024 * 1024
TELL_EVERY = 500
# This many take minutes to simulate; a longer trace can be cut or thinned.
MOST_MESSAGES = 30_000_000
# Two months of seconds. A sparse file may name more steps than fit into memory.
MOST_STEPS = 5_000_000


class Refused(SettingError):
    """field: the invalid field of the request; empty if no single field is."""

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


def read_request(file: BinaryIO) -> WhatIfRequest:
    """Read the request from the first line. Raise Refused if it is invalid."""
    line = file.readline(MOST_LINE)
    try:
        request = msgspec.json.decode(line, type=WhatIfRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refused(f"the request can't be used: {e}") from e
    if request.max_replicas is not None and request.min_replicas > request.max_replicas:
        sentence = f"{request.max_replicas} replicas at most are fewer than {request.min_replicas} at least"
        raise Refused(sentence, "max_replicas")
    return request


def read_arrivals(request: WhatIfRequest, file: BinaryIO, now: dt.datetime, tell: Callable[[str], None]) -> Arrivals:
    """Return the arrivals that the request names. file: the lines after the request. Raise Refused."""
    if request.arrivals == "made_up":
        return Arrivals(trace=next(t for t in generated() if t.name == request.trace))
    if request.arrivals == "csv":
        try:
            return Arrivals(trace=parse(request.csv, "arrivals", "the CSV"))
        except SettingError as e:
            raise Refused(str(e), "csv") from e
    try:
        return from_usage(_book(file, tell), request.service, now - dt.timedelta(days=request.days))
    except NoArrivals as e:
        raise Refused(f"{e}, or give a CSV", "arrivals") from e


def read_workload(request: WhatIfRequest, base: Bases, arrivals: Arrivals) -> Workload:
    """Return the workload to simulate. Raise Refused if it is unknown or too large."""
    steps = len(arrivals.trace.counts)
    if steps > MOST_STEPS:
        raise Refused(f"{steps:,} steps are too many: give {MOST_STEPS:,} at most, or make the rows coarser", "csv")
    part, _ = busiest(arrivals.trace, MOST_DAYS)
    if part.total > MOST_MESSAGES:
        raise Refused(
            f"{part.total:,} messages are too many to simulate: give {MOST_MESSAGES:,} at most, as by fewer days",
            "csv" if request.arrivals == "csv" else "arrivals",
        )
    try:
        load = workload(base, arrivals, msgspec.convert(request, LoadOverrides, from_attributes=True))
    except RateUnknown as e:
        raise Refused(f"{e}: say how many messages it does in a second", "service_rate") from e
    if load.max_replicas > MOST_REPLICAS:
        raise Refused(
            f"the peak needs {load.max_replicas // 2:,} replicas of {load.service_rate:g} messages a second each, "
            f"and {MOST_REPLICAS // 2:,} can be simulated: give a higher rate, or how many there are at most",
            "service_rate",
        )
    return load


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
