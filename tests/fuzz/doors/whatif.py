"""The doors of a what-if: its requests, the usage it reads, and its answers."""

from __future__ import annotations

import datetime as dt
import io

import msgspec

from shared.contract.questions.whatif import Failed, Progress, UsageLine, WhatIfRequest, decode
from shared.contract.work.usage import WorkerUsage, encode
from shared.runtime.errors import BadMessage
from tests.fuzz import spoil
from tests.fuzz.door import MB, Door
from tidegate.audit.candidates import bases
from tidegate.whatif import requests

_BEGAN = 1_795_000_000


def _rows(*rows: str) -> str:
    return "\n".join(["t_s,arrivals", *rows]) + "\n"


def _requests() -> list[bytes]:
    of = {"service": "cv", "arrivals": "csv", "service_rate": 2.0}
    files = (
        _rows("0,1", "60,9"),
        _rows("0,0", "10,3", "40,2.5", "50,1e3"),
        _rows('"0",1', "1,2", "2,3").replace("\n", "\r\n"),
    )
    found = [WhatIfRequest(**of, csv=file, price=3, budgets=(0.1,), max_replicas=50) for file in files]
    return [msgspec.json.encode(request) for request in found]


def _usage() -> list[bytes]:
    first = msgspec.json.encode(WhatIfRequest(service="cv", arrivals="usage"))
    lines = [first]
    for n in range(3):
        since = _BEGAN + 600 * n
        arrivals = {"cv": {since // 60 + m: 60 for m in range(10)}}
        usage = WorkerUsage(
            process="w", n=n, since=since, until=since + 600, arrivals=arrivals, processed=600, working_s=300.0
        )
        line = UsageLine(subject="usage.cv", stored_at=float(since + 600), data=encode(usage))
        lines.append(msgspec.json.encode(line))
    return [b"\n".join(lines) + b"\n"]


def _read(data: bytes) -> None:
    """Read a request up to the workload to simulate."""
    file = io.BytesIO(data)
    request = requests.read_request(file)
    now = dt.datetime.fromtimestamp(_BEGAN + 3600, dt.UTC)
    found = requests.read_arrivals(request, file, now, lambda text: None)
    requests.read_workload(request, bases("cv"), found)


def _replies() -> list[bytes]:
    return [
        msgspec.json.encode(Progress(progress=0.5, doing="x")),
        msgspec.json.encode(Failed(error="no", field="csv")),
    ]


DOORS = (
    # A file of few rows may name steps for half a gigabyte: the process that reads it has four.
    Door("whatif.asked", _requests, _read, (requests.Refused,), spoil.as_json, share=0.2, most_bytes=2000 * MB),
    Door("whatif.usage", _usage, _read, (requests.Refused,), share=0.2),
    Door("whatif.said", _replies, decode, (BadMessage,), spoil.as_json),
)
