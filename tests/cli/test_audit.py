"""The audit: how arrivals go, what each way to scale costs on them, and a ScaledObject that is the one it counted."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nats.aio.client import Client
from PIL import Image

from shared.contract import names
from shared.contract.work.usage import MINUTE_S, WorkerUsage
from shared.runtime.errors import SettingError
from tests.support.processes.command_line import COMMAND
from tests.support.worlds.audit import keep, run
from tidegate.audit.arrivals import WorkerMeasurements
from tidegate.audit.candidates import DEGRADABLE, DEMAND, IN_FORCE, LAG, STATIC, Candidate, bases, families, lags
from tidegate.audit.costs import Costs, audit, busiest
from tidegate.audit.pattern import DAY_S, DAYS, pattern, rises
from tidegate.audit.search import Goal, Row, best
from tidegate.audit.trial import simulate
from tidegate.cluster.checks import scaling
from tidegate.cluster.state import Cluster
from tidegate.keda.scaledobject import JetStreamTrigger, load, parse
from tidegate.local.scaling import scaled_objects
from tidegate.local.server import NatsServer
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.trace import Trace, read
from tidegate.view.audit import chosen as recommendation
from tidegate.view.audit import decision

LOAD = Workload(service_rate=2.0, cold_start_s=90.0, latency_target_s=3.0, max_replicas=9)
BUDGETS = (0.0, 0.05)
SERVICES = ("cv", "embed", "vlm")


def hours(*rates: float, step_s: float = 60.0) -> Trace:
    """A trace with one rate, in messages a second, for each hour."""
    counts = np.repeat(np.array(rates), round(3600 / step_s)) * step_s
    return Trace("t", step_s, np.random.default_rng(1).poisson(counts).astype(np.int64))


# ---- how arrivals go


@given(st.lists(st.integers(0, 50), min_size=2, max_size=9 * 24), st.integers(0, 6), st.integers(0, 23))
def test_every_arrival_is_in_its_hour_of_the_week(counts: list[int], day: int, hour: int) -> None:
    """Steps of an hour: what the table holds, times how often each hour was seen, is what arrived."""
    begins = dt.datetime(2026, 11, 23, hour, tzinfo=dt.UTC) + dt.timedelta(days=day)
    found = pattern(Trace("t", 3600.0, np.array(counts)), begins=begins)
    seen = np.zeros((7, 24))
    for n in range(len(counts)):
        at = begins + dt.timedelta(hours=n)
        seen[at.weekday(), at.hour] += 1
    assert (np.isnan(found.week) == (seen == 0)).all()
    assert np.nansum(found.week * seen) * 3600 == pytest.approx(sum(counts))
    assert found.mean * 3600 == pytest.approx(np.mean(counts))
    assert found.peak * 3600 == pytest.approx(max(counts))
    assert found.lull <= 1 and found.known == 1


def test_unknown_minutes_are_no_lull() -> None:
    mask = np.array([True] * 10 + [False] * 10)
    found = pattern(Trace("t", 60.0, np.array([60] * 10 + [0] * 10)), mask)
    assert (found.mean, found.known, found.lull) == (1.0, 0.5, 0.0)


def test_a_rise_over_one_replica_is_counted_once() -> None:
    steps = hours(1, 1, 4, 4, 1, 1, 4)
    even = Trace("t", 60.0, np.repeat([60, 60, 240, 240, 60, 60, 240], 60))
    assert rises(even, 2.5, 60.0) == 2 and rises(even, 3.5, 60.0) == 0
    assert rises(even, 2.5, 300.0) == 2
    assert rises(steps, 1e6, 60.0) == 0


@given(st.integers(1, 30), st.integers(1, 9))
def test_the_busiest_days_of_a_long_trace_are_simulated(days: int, most: int) -> None:
    counts = np.random.default_rng(days).integers(1, 100, days * 24)
    trace = Trace("t", 3600.0, counts)
    part, first = busiest(trace, most)
    if days <= most:
        assert part is trace
        return
    assert len(part.counts) == most * 24 or part is trace
    best_of_all = max(counts[n * 24 : (n + most) * 24].sum() for n in range(days - most + 1))
    assert part is trace or part.counts.sum() == best_of_all == counts[first * 24 : (first + most) * 24].sum()


# ---- what a replica does


def usage_of(working_s: float, processed: int, *, length_s: int = 600, **more: Any) -> WorkerUsage:
    return WorkerUsage(process="w", n=0, since=0, until=length_s, processed=processed, working_s=working_s, **more)


def test_the_rate_of_a_replica_is_measured_at_its_busiest_time() -> None:
    """A service that works in batches does little in a second of work while there is little to do."""
    idle = [usage_of(60.0, 60) for _ in range(10)]
    assert WorkerMeasurements.of([*idle, usage_of(600.0, 4800)]).rate == pytest.approx(8.0)
    assert WorkerMeasurements.of([usage_of(300.0, 900), usage_of(300.0, 1500)]).rate == pytest.approx(3.0)


def test_deferring_frames_does_not_raise_the_rate_of_a_replica() -> None:
    bent = usage_of(100.0, 1000, wanted_s=250.0, work_s=100.0, frames_wanted=5000, frames_analysed=2000)
    found = WorkerMeasurements.of([bent])
    assert found.rate == pytest.approx(4.0) and found.deferred_share == pytest.approx(0.6)


def test_little_work_gives_no_rate() -> None:
    assert WorkerMeasurements.of([]).rate is None and WorkerMeasurements.of([]).cold_start_s is None
    assert WorkerMeasurements.of([usage_of(1.0, 500)]).rate is None
    assert WorkerMeasurements.of([usage_of(500.0, 5)]).rate is None
    found = WorkerMeasurements.of([usage_of(10.0, 100, loading_s=s) for s in (3.0, 60.0, 4.0)])
    assert (found.cold_start_s, found.starts) == (4.0, 3)


# ---- the ways to scale


@pytest.mark.parametrize("service", SERVICES)
def test_every_candidate_is_an_accepted_file_with_its_settings(service: str) -> None:
    of, trace = bases(service), hours(1, 6, 1)
    for tried in (*(family.at(3) for family in families(of, trace, LOAD, BUDGETS)), *lags(of, LOAD)):
        scaled = parse(tried.text)
        assert scaled.name == f"tidegate-{service}"
        assert scaled.spec.max_replica_count <= LOAD.max_replicas
        net = [t for t in scaled.triggers if isinstance(t, JetStreamTrigger) and t.stream == names.BACKFILL]
        assert bool(net) == tried.degradable
        queries = scaled_objects.demand_queries(scaled)
        assert bool(queries) == (tried.degradable or tried.name == DEMAND)
        for query in queries:
            settings = query.settings
            assert (query.service, settings.latency_target_s, settings.cold_start_s) == (service, 3.0, 90.0)
            if tried.degradable:
                budget = tried.name.removeprefix(DEGRADABLE) if tried.name.startswith(DEGRADABLE) else max(BUDGETS)
                assert (settings.loss_budget, settings.defer_limit) == (float(budget), 1.0)
            else:
                assert settings.defer_limit == 0.0
        assert [t["metadata"] for t in yaml.safe_load(tried.text)["spec"]["triggers"]] == [
            {key: str(value) for key, value in t["metadata"].items()}
            for t in yaml.safe_load(tried.text)["spec"]["triggers"]
        ], "Kubernetes takes texts alone"


def test_the_check_of_a_cluster_accepts_the_recommended_file() -> None:
    tried = families(bases("cv"), hours(1, 6), LOAD, (0.05,))[-1].at(0)
    container = {"name": "cv", "env": [{"name": "CV_LATENCY_TARGET_S", "value": "3"}]}
    deployment = {"spec": {"template": {"spec": {"containers": [container]}}}}
    objects = {
        "ScaledObject": {"tidegate-cv": yaml.safe_load(tried.text)},
        "Deployment": {"tidegate-cv": deployment},
    }
    (found,) = scaling.degradation(Cluster(namespace="tidegate", objects=objects))
    assert found.level == "ok", found


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
def test_a_row_equals_the_simulation_of_its_file(service: str, tmp_path: Path) -> None:
    """The output of `--write`, read again, costs the same as in the table."""
    trace = hours(0.5, 5, 0.5)
    costs = audit(bases(service), trace, LOAD, BUDGETS)
    assert costs.simulated is trace
    names_of = [row.name for row in costs.rows]
    static, bending = [], []
    if service != "vlm":
        static, bending = ["static, bends"], ["demand, bends 0", "demand, bends 0.05"]
    assert names_of == ["static peak", *static, "KEDA default", "lag", "demand", *bending, "bound"]
    assert costs.chosen.candidate
    file = tmp_path / "scaled.yaml"
    file.write_text(costs.chosen.candidate.text)
    load(file)
    again = simulate(replace(costs.chosen.candidate, text=file.read_text()), trace, LOAD)
    assert again.replica_hours == costs.chosen.result.replica_hours
    assert again.window_attainment == costs.chosen.result.window_attainment
    # More replicas in the file are more replicas in the run.
    document = yaml.safe_load(file.read_text())
    document["spec"] |= {"minReplicaCount": 7, "maxReplicaCount": 7}
    more = simulate(replace(costs.chosen.candidate, text=yaml.safe_dump(document)), trace, LOAD)
    assert more.peak_replicas == 7 and more.replica_hours > 7 * 3 * 0.99


@pytest.mark.slow
def test_the_smallest_static_fleet_that_degrades_is_tried() -> None:
    """Bursts are much shorter than a cold start: a small fleet that degrades meets them, and backfills afterwards."""
    rates = np.tile(np.repeat([1.0, 10.0], [540, 60]), 18)
    trace = Trace("bursts", 1.0, np.random.default_rng(1).poisson(rates).astype(np.int64))
    workload = replace(LOAD, cold_start_s=300.0, max_replicas=20)
    costs = audit(bases("cv"), trace, workload, (0.02,), kinds=(DEMAND, DEGRADABLE))
    row = costs.rows[1]
    assert (row.name, row.label) == ("static, bends", "static, degrades") and row.candidate
    bounds = parse(row.candidate.text).spec
    assert bounds.min_replica_count == bounds.max_replica_count == row.result.peak_replicas
    assert row.result.peak_replicas < costs.rows[0].result.peak_replicas
    assert row.result.window_attainment >= 0.99 and round(row.result.never_share, 3) <= 0.02
    document = yaml.safe_load(row.candidate.text)
    document["spec"] |= {
        "minReplicaCount": bounds.min_replica_count - 1,
        "maxReplicaCount": bounds.min_replica_count - 1,
    }
    less = simulate(replace(row.candidate, text=yaml.safe_dump(document)), trace, workload)
    assert less.window_attainment < 0.99 or round(less.never_share, 3) > 0.02


def test_a_foreign_service_is_refused() -> None:
    with pytest.raises(SettingError, match="take one of cv, embed, vlm"):
        bases("ingest")


def outcome(hours: float, served: float) -> Result:
    return Result(
        name="x", replica_hours=hours, busy_hours=1, p95_s=1, worst_s=1, attainment=1, window_attainment=served,
        p50_s=1, p99_s=1, lost=0, cold_starts=0, reversals_per_hour=0, peak_replicas=1, timeline=[], windows=np.ones(1),
    )  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1)), min_size=1, max_size=9), st.floats(0, 1))
def test_the_cheapest_that_serves_enough_is_recommended(found: list[tuple[float, float]], least: float) -> None:
    chosen = found[best([outcome(*each) for each in found], Goal(enough=least))]
    enough = [each for each in found if each[1] >= least]
    if enough:
        assert chosen[1] >= least and chosen[0] == min(hours for hours, _ in enough)
    else:
        assert chosen[1] == max(served for _, served in found)


def test_a_way_that_loses_more_frames_than_stated_is_not_recommended() -> None:
    cheap, dear = replace(outcome(10, 1.0), never_share=0.033), replace(outcome(20, 1.0), never_share=0.0204)
    assert best([cheap, dear], Goal(enough=0.99, loss=0.02)) == 1
    assert best([cheap, dear], Goal(enough=0.99, loss=0.05)) == 0


def test_a_payer_sees_cost_saving_and_service_of_what_runs_and_what_is_recommended() -> None:
    def row(name: str, hours: float, served: float) -> Row:
        return Row(Candidate(name=name, settings="s", text=""), outcome(hours, served))

    lean = replace(outcome(48, 0.995), deferred_share=0.05, never_share=0.01)
    static, lag, demand, now = (
        row(STATIC, 240, 1),
        row(LAG, 96, 0.999),
        replace(row(DEMAND, 48, 0.995), result=lean),
        row(IN_FORCE, 120, 0.9),
    )
    costs = Costs(
        simulated=hours(*[1] * 24),
        first_day=0,
        rows=[static, lag, demand],
        chosen=demand,
        goal=Goal(enough=0.99),
        again=lean,
        trials=3,
    )
    first, chosen, other = ([str(cell) for cell in cells] for cells in decision(costs, 2.0))
    assert first == ["without scaling", STATIC, "14,400", "", "0.0%", "100.0%", "0.0%", "0.0%"]
    assert chosen == ["recommended", DEMAND, "2,880", "11,520", "0.5%", "95.0%", "4.0%", "1.0%"]
    assert other == ["runner-up", LAG, "5,760", "8,640", "0.1%", "100.0%", "0.0%", "0.0%"]
    known = replace(costs, others=[now])
    assert [str(cells[0]) for cells in decision(known, None)] == ["now", "recommended", "runner-up"]
    assert decision(known, None)[1][3] == "2,160"
    assert "costs 1,440 GPU-hours in 30 days; that saves 2,160 against what runs now" in next(
        iter(recommendation(known, None))
    )


# ---- the commands


@pytest.mark.slow
async def test_the_audit_reports_arrivals_and_a_recommendation(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    counts, began = await keep(admin, 26 * 60)
    await admin.jetstream().publish(names.usage("cv"), b"no usage")
    file, picture = tmp_path / "cv.yaml", tmp_path / "audit.png"
    done = await run(server, "audit", "--price", "3", "--write", str(file), "--png", str(picture))
    assert done.returncode == 0, done.stderr
    output = done.stdout
    assert f"cv: {sum(counts):,} messages" in output and "of which 100.0% is known" in output
    assert "a busy replica does 2 a second" in output and "ready 4 s after its process began" in output
    assert "25% of them static scenes" in output and "gate 3.0 h (3.5 GB)" in output
    assert "1 messages on usage can't be read" in output
    assert sum(day in output for day in DAYS) >= 2
    for row in ("static peak", "KEDA default", "lag", "demand, degrades 0.02", "oracle", "recommended: "):
        assert row in output
    assert "kind: ScaledObject" not in output and f"ScaledObject in {file}" in done.stderr
    assert load(file).name == "tidegate-cv"
    with Image.open(picture) as image:
        assert image.width > 500 and np.asarray(image.convert("L")).std() > 10

    csv_file = tmp_path / "cv.csv"
    done = await run(server, "trace", "export", "cv", "-o", str(csv_file))
    assert done.returncode == 0, done.stderr
    assert f"{len(counts):,} minutes from" in done.stderr and "100.0% of them known" in done.stderr
    assert read(csv_file).counts.tolist() == counts and read(csv_file).step_s == MINUTE_S
    before = int(time.time()) // MINUTE_S
    done = await run(server, "trace", "export", "cv", "--camera", "gate", "--since", "1h")
    after = int(time.time()) // MINUTE_S
    rows = list(csv.DictReader(done.stdout.splitlines()))
    # The history ends at the start of the test, and the hour ends at the time of the request.
    assert 60 - (after - began) <= len(rows) <= 60 - (before - began)  # clock: both bounds are measured
    assert {row["arrivals"] for row in rows} == {"7"}


@pytest.mark.slow
async def test_an_audit_of_hours_states_that_it_cannot_show_days_or_weeks(server: NatsServer, admin: Client) -> None:
    counts, _ = await keep(admin, 60)
    done = await run(server, "audit", "cv", "--cold-start", "120", "--loss-budget", "0.03", "--json", "--price", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["arrivals"] == sum(counts) and found["cold_start_s"] == 120 and found["service_rate"] == 2
    ways = found["ways"]
    assert set(ways) == {"static peak", "KEDA default", "lag", "demand", "demand, bends 0.03", "static, bends", "bound"}
    for way in ways.values():
        assert way["cost_30d"] == pytest.approx(2 * way["gpu_hours_30d"])
    assert parse(found["scaled_object"]).name == "tidegate-cv" and found["recommended"] in ways
    done = await run(server, "audit", "cv", "--cold-start", "120", "--loss-budget", "0.03")
    assert "less than a day is known: how day and week go can't be seen yet" in done.stdout
    assert "kind: ScaledObject" in done.stdout and done.stdout.endswith("\n")


@pytest.mark.slow
async def test_missing_data_is_reported_with_a_remedy(server: NatsServer, admin: Client) -> None:
    done = await run(server, "audit")
    assert done.returncode == 1 and "nothing is known yet of what arrives at cv" in done.stderr
    done = await run(server, "trace", "export")
    assert done.returncode == 1 and "nothing is known yet of what arrives at cv" in done.stderr
    await keep(admin, 4)
    done = await run(server, "audit", "--service-rate", "2")
    assert done.returncode == 1 and "only 4 minutes are known so far" in done.stderr
    await admin.jetstream().purge_stream(names.USAGE)
    await keep(admin, 30, works=False)
    done = await run(server, "audit")
    assert done.returncode == 1 and "give --service-rate" in done.stderr
    done = await run(server, "audit", "vlm")
    assert done.returncode == 1 and "there is something of cv, embed" in done.stderr
    done = await run(server, "trace", "export", "vlm", "--camera", "gate")
    assert done.returncode == 1 and "leave it out" in done.stderr
    await admin.jetstream().delete_stream(names.USAGE)
    done = await run(server, "audit")
    assert done.returncode == 1 and "run 'tidegate setup'" in done.stderr


@pytest.mark.slow
def test_arrivals_from_a_file_need_no_server(tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    counts = [30] * 120 + [300] * 30 + [30] * 60
    file.write_text("t_s,arrivals\n" + "\n".join(f"{60 * n},{count}" for n, count in enumerate(counts)) + "\n")
    command = [*COMMAND, "audit", "--trace", str(file), "--service-rate", "1.5", "--latency-target", "5", "--json"]
    environment = os.environ | {"NATS_URL": "nats://127.0.0.1:9"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["begins"] is None and found["arrivals"] == sum(counts) and found["latency_target_s"] == 5
    assert found["duration_s"] / DAY_S < 1
