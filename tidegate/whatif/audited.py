"""A request from its first line to its answer."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import Executor
from typing import BinaryIO

from shared.contract.whatif import WhatIfAnswer
from tidegate.audit.candidates import bases
from tidegate.audit.costs import audit
from tidegate.whatif import answer, asked
from tidegate.whatif.telling import Telling


def audited(file: BinaryIO, pool: Executor, telling: Telling) -> WhatIfAnswer:
    """Read, simulate and answer. Raises a TidegateError for what can't be used."""
    request = asked.request(file)
    of = bases(request.service)
    telling.doing("reading what arrived")
    found = asked.arrived(request, file, dt.datetime.now(dt.UTC), telling.doing)
    load = asked.load(request, of, found)
    costs = audit(
        of,
        found.trace,
        load,
        request.budgets,
        enough=request.enough,
        only=request.policies,
        also=[answer.now(of, load, request.in_force)] if request.in_force else [],
        pool=pool,
        tell=telling.doing,
        done=telling.done,
    )
    telling.doing("writing it down")
    return answer.answer(request, found, load, costs)
