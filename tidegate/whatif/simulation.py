"""The way of a request from its first line to its answer."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import Executor
from typing import BinaryIO

from shared.contract.whatif import WhatIfAnswer
from tidegate.audit.candidates import bases
from tidegate.audit.costs import audit
from tidegate.whatif import answer, requests
from tidegate.whatif.progress import ProgressWriter


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
        extra=[answer.present(base, load, request.in_force)] if request.in_force else [],
        pool=pool,
        tell=progress.set_step,
        done=progress.set_share,
    )
    progress.set_step("writing it down")
    return answer.answer(request, arrivals, load, costs)
