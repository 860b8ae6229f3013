"""A what-if in its own process: it returns the audit's figures, or a sentence if the request can't be simulated."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.console.scaling.usage import read_usage
from shared import bus
from shared.contract.questions.whatif import (
    MOST_POINTS,
    POLICIES,
    Failed,
    InForce,
    Output,
    Progress,
    WhatIfAnswer,
    WhatIfRequest,
    decode,
)
from shared.runtime import install
from shared.runtime.child import bound, python
from shared.runtime.errors import BadMessage, BusError
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import until
from tests.support.worlds.audit import keep, run
from tests.support.worlds.whatif import COUNTS, CSV, lives
from tidegate.keda.scaledobject import parse
from tidegate.local.server import NatsServer
from tidegate.simulation import series
from tidegate.simulation.trace import Trace
from tidegate.whatif import requests

WHATIF = python("tidegate.whatif")
FORCE = InForce(latency_target_s=2, cold_start_s=90, lag_threshold=7, loss_budget=0.5, degradable=True)


def request(**fields: Any) -> bytes:
    return json.dumps({"service": "cv", "arrivals": "csv", "csv": CSV, "service_rate": 1.5} | fields).encode() + b"\n"


def say(data: bytes, *command: str) -> tuple[int, list[Output]]:
    done = subprocess.run([*(command or WHATIF)], input=data, capture_output=True, timeout=400)
    assert done.stdout, done.stderr
    return done.returncode, [decode(line) for line in done.stdout.splitlines()]


def answered(line: bytes) -> WhatIfAnswer:
    code, reply = say(line)
    assert code == 0 and isinstance(reply[-1], WhatIfAnswer), reply[-1]
    return reply[-1]


def failed(data: bytes) -> Failed:
    code, reply = say(data)
    assert code == 2 and isinstance(reply[-1], Failed), reply[-1]
    assert all(isinstance(line, Progress) for line in reply[:-1])
    return reply[-1]


def ways(answer: WhatIfAnswer) -> dict[str, dict[str, Any]]:
    """The policies in the form of `tidegate audit --json`."""
    same = ("gpu_hours_30d", "cost_30d", "minutes_served", "p99_s", "never_share", "deferred", "backfilled")
    return {
        row.name: {
            "settings": row.settings if row.scaled_object else "",
            "left_out": row.deferred_share,
            **{name: getattr(row, name) for name in same},
        }
        for row in answer.table
        if row.name != "now"
    }


# ---- the audit's own figures


@pytest.mark.slow
def test_a_csv_costs_the_same_as_in_the_audit(tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    file.write_text(CSV)
    arguments = ["--trace", str(file), "--service-rate", "1.5", "--latency-target", "5", "--price", "3", "--json"]
    done = subprocess.run([*COMMAND, "audit", *arguments], capture_output=True, text=True, timeout=400)
    audit = json.loads(done.stdout)
    code, reply = say(request(latency_target_s=5, price=3, in_force=msgspec.to_builtins(FORCE)))
    answer = reply[-1]
    assert code == 0 and isinstance(answer, WhatIfAnswer), answer
    assert ways(answer) == audit["ways"]
    assert (answer.recommended, answer.scaled_object) == (audit["recommended"], audit["scaled_object"])
    (best,) = [row for row in answer.table if row.recommended]
    assert best.name == answer.recommended and best.scaled_object == answer.scaled_object
    # It reports its progress until the end.
    progress = [line for line in reply if isinstance(line, Progress)]
    shares = [line.progress for line in progress]
    assert shares == sorted(shares) and len({line.doing for line in progress}) > 1

    # The row of the present settings has the named settings, and is not recommended.
    (now,) = [row for row in answer.table if row.name == "now"]
    url = parse(now.scaled_object).spec.triggers[0].metadata["url"]
    for setting in ("latencyTarget=2", "coldStart=90", "lagThreshold=7", "lossBudget=0.5"):
        assert f"&{setting}" in url or f"?{setting}" in url
    assert not now.recommended
    assert answer.saved.against == "now"
    assert answer.saved.gpu_hours_30d == pytest.approx(now.gpu_hours_30d - best.gpu_hours_30d)
    assert answer.saved.cost_30d == pytest.approx(3 * answer.saved.gpu_hours_30d)

    # The plot has the same replica-hours as the table.
    hours = len(COUNTS) / 60
    assert answer.series.begins is None and len(answer.series.arrivals) == len(COUNTS) <= MOST_POINTS
    assert answer.series.arrivals == pytest.approx([count / 60 for count in COUNTS], abs=1e-3)
    for row in answer.table:
        drawn = sum(answer.series.replicas[row.name]) * answer.series.step_s / 3600 * (30 * 24 / hours)
        assert row.name == "bound" or drawn == pytest.approx(row.gpu_hours_30d, rel=0.1)


@pytest.mark.slow
async def test_recorded_usage_costs_the_same_as_in_the_audit(server: NatsServer, admin: Client) -> None:
    """USAGE, read as the console does and with a viewer's rights."""
    await keep(admin, 60)
    done = await run(server, "audit", "cv", "--cold-start", "120", "--loss-budget", "0.03", "--json")
    audit = json.loads(done.stdout)
    viewer = await bus.connect(server.settings("console-viewer"), "console-viewer")
    try:
        lines = [line async for line in read_usage(viewer, dt.datetime.now(dt.UTC) - dt.timedelta(days=30))]
        await admin.jetstream().delete_stream("USAGE")
        with pytest.raises(BusError, match="run 'tidegate setup'"):
            await anext(read_usage(viewer, dt.datetime.now(dt.UTC)))
    finally:
        await viewer.close()
    first = request(arrivals="usage", csv="", service_rate=None, cold_start_s=120, budgets=[0.03])
    data = b"\n".join([first.strip(), *map(msgspec.json.encode, lines)]) + b"\n"
    answer = await asyncio.to_thread(answered, data)
    assert ways(answer) == audit["ways"]
    assert answer.recommended == audit["recommended"]
    assert answer.load.service_rate == audit["service_rate"] == 2 and answer.load.rate_measured
    assert answer.series.begins and answer.saved.against == "static peak"
    assert not any("sent video" in note for note in answer.notes), "it names no camera"
    fewer = first.replace(b'"service_rate": null', b'"service_rate": null, "policies": ["demand"]')
    answer = await asyncio.to_thread(answered, data.replace(first, fewer))
    assert list(ways(answer)) == ["static peak", "demand", "bound"]


# ---- what can't be simulated


@pytest.mark.parametrize(
    ("fields", "problem", "field"),
    [
        ({"csv": "t_s,arrivals\n0,1\n1,many\n"}, "the CSV, line 3", "csv"),
        ({"csv": "t_s,arrivals\n0,1\n1," + "x" * 100_000 + "\n"}, "the CSV, line 3", "csv"),
        ({"csv": "a,b\n0,1\n"}, "needs a first line 't_s,arrivals'", "csv"),
        ({"csv": f"t_s,arrivals\n0,1\n60,{requests.MOST_MESSAGES + 1}\n"}, "too many to simulate", "csv"),
        ({"csv": "t_s,arrivals\n0,1\n60,9000000\n", "service_rate": 0.0001}, "give a higher rate", "service_rate"),
        ({"csv": "t_s,arrivals\n0,1\n1,1\n49000000,1\n"}, "49,000,001 steps are too many", "csv"),
        ({"service_rate": None}, "say how many messages it does", "service_rate"),
        ({"min_replicas": 5, "max_replicas": 4}, "4 replicas at most are fewer than 5 at least", "max_replicas"),
        ({"arrivals": "usage"}, "nothing is known yet of what arrives at cv", "arrivals"),
        ({"service": "ingest"}, "take one of cv, embed, vlm", ""),
        ({"latency_target_s": 0}, "latency_target_s", ""),
        ({"csv": "x" * (4 * 1024 * 1024 + 1)}, "csv", ""),
        ({"unheard": 1}, "unheard", ""),
    ],
)
def test_an_invalid_request_is_refused_with_its_field(fields: dict[str, Any], problem: str, field: str) -> None:
    found = failed(request(**fields))
    assert problem in found.error and found.field == field and len(found.error) <= 500


@pytest.mark.parametrize("line", [b"", b"\n", b"{", b"[" * 100_000, b"\xff\xfe\n", b'{"service": "cv"}\n'])
def test_an_invalid_line_is_refused_as_a_request(line: bytes) -> None:
    assert "the request can't be used" in failed(line).error


def test_unreadable_lines_of_usage_are_refused() -> None:
    assert "line 2 of what was used" in failed(request(arrivals="usage") + USAGE_LINE + b"no\n").error


USAGE_LINE = b'{"subject": "usage.cv", "stored_at": 1.0, "data": ""}\n'


def test_a_missing_extra_is_named() -> None:
    hidden = "import runpy, sys; sys.modules['numba'] = None; runpy.run_module('tidegate.whatif', run_name='__main__')"
    code, reply = say(request(), sys.executable, "-c", hidden)
    assert code == 2 and isinstance(reply[-1], Failed) and install.command("simulate") in reply[-1].error


LESS = """
import pathlib, resource
from tidegate.whatif import __main__, answer, limits
limits.{what}
__main__.main()
"""
# 200 MB more than the process has by then. The trace of this test takes twice that.
LITTLE = (
    "MEMORY_BYTES = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() + 2 * 10**8"
)
SPARSE = "t_s,arrivals\n0,1\n1,1\n49000000,1\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="addresses are limited on Linux")
@pytest.mark.parametrize(
    ("what", "fields"),
    [(LITTLE, {"csv": SPARSE}), ("CPU_S = 4", {"arrivals": "made_up", "trace": "days", "service_rate": 0.1})],
)
def test_excess_memory_or_time_is_reported_in_a_sentence(what: str, fields: dict[str, Any]) -> None:
    code, reply = say(request(**fields), sys.executable, "-c", LESS.format(what=what))
    assert code == 2 and isinstance(reply[-1], Failed), reply[-1]
    assert "the simulation was ended" in reply[-1].error and "give fewer days" in reply[-1].error


# ---- it ends with its parent


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed can't tell anybody."""
    file = tmp_path / "told"
    file.write_bytes(request(arrivals="made_up", trace="days"))
    start = (
        "import subprocess, sys; "
        f"child = subprocess.Popen({bound(WHATIF)!r}, stdin=open({str(file)!r}), start_new_session=True); "
        "print(child.pid, flush=True); child.wait()"
    ).replace(repr(str(os.getpid())), "str(__import__('os').getpid())")
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", start, stdout=asyncio.subprocess.PIPE)
    try:
        assert parent.stdout
        child = psutil.Process(int(await parent.stdout.readline()))
        await until(lambda: len(child.children()) >= min(2, os.cpu_count() or 1))
        all_of_it = [child, *child.children()]
        parent.send_signal(signal.SIGKILL)
        await until(lambda: not any(map(lives, all_of_it)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            parent.kill()
        await parent.wait()


async def test_its_workers_end_when_it_is_killed() -> None:
    child = await asyncio.create_subprocess_exec(
        *WHATIF, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        process = psutil.Process(child.pid)
        await until(lambda: process.children())
        workers = process.children()
        child.kill()
        await until(lambda: not any(map(lives, workers)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


# ---- the text and the plots


@given(st.binary(max_size=200))
def test_foreign_lines_are_recognised(line: bytes) -> None:
    try:
        assert isinstance(decode(line), Progress | Failed | WhatIfAnswer)
    except BadMessage:
        pass


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=300), st.integers(1, 50), st.floats(0.5, 100))
def test_a_plot_has_all_arrivals(counts: list[int], most: int, step_s: float) -> None:
    trace = Trace("t", step_s, np.array(counts))
    edges = series.points(trace, most)
    rates = series.rates(trace, edges)
    assert len(rates) == len(edges) - 1 == min(most, len(counts))
    assert math.fsum(rates) * (edges[1] - edges[0]) == pytest.approx(sum(counts), rel=1e-2, abs=0.1 * step_s)
    assert min(rates) >= 0 and max(rates) <= max(counts) / step_s + 1e-3


@given(st.lists(st.tuples(st.floats(0.1, 500), st.integers(0, 20)), min_size=1, max_size=40), st.integers(1, 50))
def test_a_plot_has_all_replicas(changes: list[tuple[float, int]], most: int) -> None:
    at = np.concatenate(([0.0], np.cumsum([after for after, _ in changes])))
    timeline = [(float(t), n) for t, (_, n) in zip(at, changes, strict=False)]
    trace = Trace("t", 10.0, np.zeros(40, dtype=np.int64))
    edges = series.points(trace, most)
    drawn = series.replicas(timeline, edges)
    # Only the part of a timeline within the trace counts.
    lasts = [*(t for t, _ in timeline[1:]), math.inf]
    spent = sum(
        n * max(0.0, min(end, trace.duration_s) - min(t, trace.duration_s))
        for (t, n), end in zip(timeline, lasts, strict=True)
    )
    assert math.fsum(drawn) * (edges[1] - edges[0]) == pytest.approx(spent, rel=1e-3, abs=0.1)


def test_the_policies_are_those_of_the_audit() -> None:
    from tidegate.audit.arrivals import BUDGETS
    from tidegate.audit.candidates import KINDS
    from tidegate.audit.costs import ENOUGH

    request = WhatIfRequest(service="cv", arrivals="usage")
    assert (request.policies, request.budgets, request.enough) == (KINDS, BUDGETS, ENOUGH)
    assert POLICIES == KINDS
