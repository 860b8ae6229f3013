"""The audit's search: the cheapest that holds a stated service and a stated loss, with few simulations."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kube.deploy_checks import keda_problems
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.processes.command_line import COMMAND
from tidegate.audit.candidates import Candidate, Family, bases, families, lags
from tidegate.audit.search import Goal, Row, best, search
from tidegate.keda.scaledobject import parse
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.trace import Trace

GOAL = Goal(enough=0.99, loss=0.02)
HOURS = 5.0


def outcome(hours: float, served: float, never: float) -> Result:
    return Result(
        name="x", replica_hours=hours, busy_hours=1, p95_s=1, worst_s=1, attainment=1, window_attainment=served,
        p50_s=1, p99_s=1, lost=0, cold_starts=0, reversals_per_hour=0, peak_replicas=1, timeline=[], windows=np.ones(1),
        never_share=never,
    )  # fmt: skip


def candidate(name: str, replicas: int) -> Candidate:
    return Candidate(name=name, settings=f"{replicas}", text="")


def family(name: str, least: int, most: int, first: int, *, is_minimum: bool) -> Family:
    return Family(name, lambda n: candidate(name, n), least, most, first, is_minimum)


class Trials:
    """Simulations with given results, and a record of them."""

    def __init__(self, result: Callable[[str, int], Result]) -> None:
        self.result = result
        self.rows: list[Row] = []

    def __call__(self, candidates: Sequence[Candidate]) -> list[Result]:
        results = [self.result(c.name, int(c.settings)) for c in candidates]
        self.rows += map(Row, candidates, results)
        return results


def chosen(rows: Sequence[Row]) -> Row:
    return rows[best([row.result for row in rows], GOAL)]


@st.composite
def searched(draw: st.DrawFn) -> list[Family]:
    """Families from a random least to a random most, that begin anywhere between."""
    found = []
    for n in range(draw(st.integers(1, 5))):
        least = draw(st.integers(0, 4))
        most = draw(st.integers(least, least + 20))
        found.append(family(f"{n}", least, most, draw(st.integers(least, most)), is_minimum=draw(st.booleans())))
    return found


@given(searched(), st.data())
def test_the_search_finds_what_an_exhaustive_one_finds(tried: list[Family], data: st.DataObject) -> None:
    """Service improves with the replicas, and a minimum costs at least its own time."""
    enough = {each.name: data.draw(st.integers(0, 30)) for each in tried}
    rest = {each.name: data.draw(st.floats(0, 50)) for each in tried}

    def result(name: str, replicas: int) -> Result:
        is_enough = replicas >= enough[name]
        return outcome(rest[name] + HOURS * replicas, 1.0 if is_enough else 0.5 + replicas / 100, 0.0)

    trials = Trials(result)
    row = chosen(search(tried, trials, GOAL, hours=HOURS))
    grid = [Row(each.at(n), result(each.name, n)) for each in tried for n in range(each.least, each.most + 1)]
    holding = [each.result.replica_hours for each in grid if GOAL.holds(each.result)]
    if holding:
        assert GOAL.holds(row.result) and row.result.replica_hours == min(holding)
    else:
        assert row.result.window_attainment == max(each.result.window_attainment for each in grid)
    for each in tried:
        count = sum(row.name == each.name for row in trials.rows)
        assert count <= 1 + (each.most - each.least).bit_length(), "bisection"


@given(searched(), st.integers(0, 1000))
def test_nothing_that_was_tried_is_better_than_the_choice(tried: list[Family], seed: int) -> None:
    """Whatever the simulations return, each is done once, in the same order, and the choice is the best of them."""

    def result(name: str, replicas: int) -> Result:
        rng = np.random.default_rng([seed, int(name), replicas])
        served, never = rng.choice([0.9, 1.0]), rng.choice([0.01, 0.0204, 0.03])
        return outcome(rng.uniform(0, 200), float(served), float(never))

    first, second = Trials(result), Trials(result)
    rows = search(tried, first, GOAL, hours=HOURS)
    assert [row.name for row in rows] == [each.name for each in tried]
    assert chosen(rows).result.replica_hours == chosen(first.rows).result.replica_hours
    assert any(GOAL.holds(row.result) for row in first.rows) == GOAL.holds(chosen(rows).result)
    search(tried, second, GOAL, hours=HOURS)
    made = [row.candidate for row in first.rows]
    assert made == [row.candidate for row in second.rows] and len({(c.name, c.settings) for c in made if c}) == len(
        made
    )


# ---- the files and the command

LOAD = Workload(service_rate=2.0, cold_start_s=90.0, latency_target_s=3.0, max_replicas=9)


@pytest.mark.foreign
@pytest.mark.parametrize("service", ["cv", "embed", "vlm"])
def test_every_file_is_valid_by_the_schema_of_keda(service: str, keda_schema: Path) -> None:
    trace = Trace("t", 60.0, np.repeat([60, 360, 60], 60))
    found = families(bases(service), trace, LOAD, (0.0, 0.02))
    files = [each.at(n) for each in found for n in (each.least, 3)] + lags(bases(service), LOAD)
    documents = [yaml.safe_load(file.text) for file in files]
    assert keda_problems(keda_schema, documents) == [None] * len(files)


def run_audit(tmp_path: Path, service: str, counts: Sequence[int], *arguments: str) -> dict[str, Any]:
    file = tmp_path / "theirs.csv"
    file.write_text("t_s,arrivals\n" + "\n".join(f"{10 * n},{count}" for n, count in enumerate(counts)) + "\n")
    command = [*COMMAND, "audit", service, "--trace", str(file), "--service-rate", "2", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# Bursts that are shorter than a cold start: demand that starts each replica for them is late.
BURSTS = ([10] * 54 + [160] * 6) * 12


@pytest.mark.slow
def test_a_minimum_of_replicas_is_bought_where_demand_alone_is_late(tmp_path: Path) -> None:
    """Work of vlm does not degrade, so only replicas that run already can meet a burst."""
    found = run_audit(tmp_path, "vlm", BURSTS, "--cold-start", "120", "--latency-target", "10", "--price", "3")
    demand, static = found["ways"]["demand"], found["ways"]["static peak"]
    least = parse(found["scaled_object"]).spec.min_replica_count
    assert least and least > 0 and found["ways"][found["recommended"]]["minutes_served"] >= 0.99
    if found["recommended"] == "demand":
        assert demand["settings"].endswith(f"{least} replicas at least")
    holding = [way["gpu_hours_30d"] for way in found["ways"].values() if way["minutes_served"] >= 0.99]
    assert found["ways"][found["recommended"]]["gpu_hours_30d"] == min(holding) <= static["gpu_hours_30d"]


@pytest.mark.slow
def test_the_recommended_file_is_simulated_once_more_and_a_cold_start_is_priced(tmp_path: Path) -> None:
    found = run_audit(tmp_path, "cv", BURSTS, "--cold-start", "120", "--latency-target", "10", "--price", "3")
    row, again, sooner = found["ways"][found["recommended"]], found["again"], found["sooner"]
    assert row["minutes_served"] >= 0.99 and round(row["never_share"], 3) <= 0.02
    assert again["settings"] == row["settings"] and again["gpu_hours_30d"] != row["gpu_hours_30d"]
    assert again["gpu_hours_30d"] == pytest.approx(row["gpu_hours_30d"], rel=0.2)
    assert sooner["cold_start_s"] == 40 and sooner["cost_30d"] == pytest.approx(3 * sooner["gpu_hours_30d"])
    # The fixed fleet is the fewest that serve: one replica less does not.
    assert found["ways"]["static peak"]["minutes_served"] >= 0.99
    assert found["simulations"] <= 60
