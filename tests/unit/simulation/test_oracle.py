"""The least that any policy could have spent: never above what one did spend, and near the true optimum where that can
be searched."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.paths import ROOT
from tidegate.keda import scaledobject
from tidegate.simulation import compare
from tidegate.simulation.engine import Result, Workload, run
from tidegate.simulation.oracle import CELLS, run_oracle
from tidegate.simulation.policies import Fixed, KedaDemand, Kpa
from tidegate.simulation.trace import Trace

DEMAND = ROOT / "deploy/keda/demand/cv.yaml"


def counts(*numbers: int) -> Trace:
    return Trace("counts", 1.0, np.array(numbers, dtype=np.int64))


def poisson(rate: float, seconds: int, seed: int = 1) -> Trace:
    return Trace("poisson", 1.0, np.random.default_rng(seed).poisson(rate, seconds).astype(np.int64))


def seconds(result: Result) -> float:
    return result.replica_hours * 3600


traces = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 25)), min_size=2, max_size=8).map(
    lambda runs: counts(*[n for n, length in runs for _ in range(length)], 1)
)


@pytest.mark.slow
@given(
    traces,
    st.sampled_from([8.0, 20.0, 60.0]),
    st.sampled_from([2.0, 5.0, 8.0]),
    st.lists(st.tuples(st.floats(0.1, 60), st.integers(0, 6)), max_size=6),
    st.integers(0, 5),
    st.integers(0, 2),
)
@settings(max_examples=examples(120))
def test_no_schedule_spends_less(
    trace: Trace, cold: float, target: float, changes: list[tuple[float, int]], first: int, least: int
) -> None:
    # Work as long for each, so that a share of the segments is a share of the work; times on no grid.
    load = Workload(
        service_rate=2, service_cv=0, cold_start_s=cold, latency_target_s=target, batch=1, min_replicas=least
    )
    schedule, at = [(0.0, first)], 0.0
    for after, n in changes:
        at += after
        schedule.append((at, n))
    result = run(Fixed("schedule", schedule), trace, load, initial=first)
    missed = 1 - result.attainment
    assert seconds(run_oracle(trace, load, initial=first, late=missed + 1e-9)) <= seconds(result) + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("cold", [6.0, 60.0])
@pytest.mark.parametrize("kind", ["steady", "burst", "slope"])
def test_no_policy_spends_less(cold: float, kind: str) -> None:
    rate = {"steady": np.full(900, 7.0), "burst": np.full(900, 3.0), "slope": np.linspace(1, 14, 900)}[kind]
    if kind == "burst":
        rate[300:500] = 16
    trace = Trace(kind, 1.0, np.random.default_rng(5).poisson(rate).astype(np.int64))
    load = Workload(service_rate=4, service_cv=0, cold_start_s=cold, latency_target_s=5)
    scaled = compare.demand_scaled(scaledobject.load(DEMAND), load)
    first = compare.initial(trace, load)
    for policy in (
        KedaDemand("demand", scaled, compare.demand_settings(load)),
        Kpa("kpa", load),
        Fixed("static", [(0.0, compare.peak(trace, load))]),
    ):
        n = compare.peak(trace, load) if isinstance(policy, Fixed) else first
        result = run(policy, trace, load, initial=n)
        least = run_oracle(trace, load, initial=n, late=1 - result.attainment + 1e-9)
        assert result.attainment * result.busy_hours * 0.98 <= least.replica_hours <= result.replica_hours


# ---- against all schedules of a tiny instance


def search(
    trace: Trace, load: Workload, initial: int, *, cold: float, first: float, slack: float, price: float
) -> float:
    """The least cost over all schedules of at most two replicas that change at whole seconds.

    first: of each initial replica. slack: seconds of work that may be overdue. price: of a second of work not done.
    """
    steps = math.ceil(trace.duration_s + load.latency_target_s)
    chunks = list(trace.chunks(load.service_rate, load.service_cv, load.seed))
    arrived, work = np.concatenate([c.arrived for c in chunks]), np.concatenate([c.work for c in chunks])
    edges = np.arange(1, steps + 1)
    came = [float(work[arrived <= e].sum()) for e in edges]
    due = [float(work[arrived <= e - load.latency_target_s].sum()) - slack for e in edges]
    best = math.inf
    for plan in itertools.product(range(3), repeat=steps):
        cost, before, done = first * initial, initial, 0.0
        for k, n in enumerate(plan):
            cost += n + max(0, n - before) * cold
            before = n
            done = min(came[k], done + n)
            if done < due[k] - 1e-9:
                cost += price * (due[k] - done)
                done = due[k]
            if cost >= best:
                break
        else:
            best = cost
    return best


@pytest.mark.slow
@pytest.mark.parametrize("cold", [3.0, 10.0, 40.0])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_optimum_of_a_tiny_instance_within_its_relaxation(cold: float, seed: int) -> None:
    trace = counts(*np.random.default_rng(seed).integers(1, 5, 5).tolist())
    load = Workload(
        service_rate=2, service_cv=0, cold_start_s=cold, latency_target_s=2, batch=1, max_replicas=2, seed=seed
    )
    found = seconds(run_oracle(trace, load, initial=1, late=0.0))
    strict = search(trace, load, 1, cold=cold, first=0.0, slack=0.0, price=math.inf)
    # Starts two steps cheaper, the first replica one; a cell of deadline and one of rounding; and what is late has a
    # price, whose highest is 2 (1 + cold / step).
    loose = search(trace, load, 1, cold=cold - 2, first=-1.0, slack=2 / CELLS, price=0.9 * 2 * (1 + cold))
    assert loose - 1e-6 <= found <= strict + 1e-6


@pytest.mark.slow
def test_a_constant_load_costs_its_work_within_two_percent() -> None:
    # Each second has exactly the work of two replicas: the first replicas stay.
    trace = counts(*[8] * 600)
    load = Workload(service_rate=4, service_cv=0, cold_start_s=60, batch=1)
    assert seconds(run_oracle(trace, load, initial=2, late=0.0)) == pytest.approx(1200, rel=0.015)


def test_a_first_replica_costs_no_cold_start_and_others_do() -> None:
    trace = counts(*[8] * 600)
    load = Workload(service_rate=4, service_cv=0, cold_start_s=60, batch=1)
    none, both = (seconds(run_oracle(trace, load, initial=n, late=0.0)) for n in (0, 2))
    assert 2 * (60 - 2 * 2.5) <= none - both <= 2 * 60


def test_the_minimum_replicas_run_for_the_trace_and_no_longer() -> None:
    trace = counts(1, *[0] * 599)
    load = Workload(service_rate=4, service_cv=0, min_replicas=3, batch=1)
    result = run(Fixed("static", [(0.0, 3)]), trace, load, initial=3)
    assert seconds(result) - 3 * 2.5 - 1 <= seconds(run_oracle(trace, load, initial=3)) <= seconds(result) == 1800


# ---- which way it goes


@given(st.integers(0, 5))
@settings(max_examples=examples(6))
def test_a_longer_cold_start_never_costs_less_and_a_later_deadline_never_more(seed: int) -> None:
    rate = np.concatenate([np.full(150, 2.0), np.full(100, 12.0), np.full(150, 5.0)])
    trace = Trace("steps", 1.0, np.random.default_rng(seed).poisson(rate).astype(np.int64))

    def cost(cold: float, target: float, late: float = 0.01) -> float:
        load = Workload(service_rate=4, service_cv=0, cold_start_s=cold, latency_target_s=target, batch=1)
        return seconds(run_oracle(trace, load, initial=1, late=late))

    # The price is searched in steps of a sixty-fourth, and a grid goes with each target: 2 % is theirs.
    by_cold = [cost(cold, 5.0) for cold in (10.0, 30.0, 60.0, 120.0)]
    assert all(a <= b * 1.02 for a, b in itertools.pairwise(by_cold))
    by_target = [cost(60.0, target) for target in (2.0, 4.0, 8.0, 16.0)]
    assert all(b <= a * 1.02 for a, b in itertools.pairwise(by_target))
    by_late = [cost(60.0, 5.0, late) for late in (0.0, 0.01, 0.1)]
    assert all(b <= a * 1.001 for a, b in itertools.pairwise(by_late))
    assert by_late[2] < by_late[0]


@pytest.mark.slow
def test_a_long_deadline_needs_one_replica() -> None:
    # 200 s of work arrive together, and may wait for ten minutes: one replica does it, with one cold start.
    trace = counts(400, *[0] * 599)
    load = Workload(service_rate=2, service_cv=0, cold_start_s=60, latency_target_s=600, batch=1)
    assert 200 + 60 - 2 * 15 - 15 <= seconds(run_oracle(trace, load, late=0.0)) <= 200 + 60


@pytest.mark.slow
def test_the_reported_figures_of_its_schedule_hold() -> None:
    trace = poisson(6, 1200)
    load = Workload(service_rate=4, cold_start_s=30)
    result = run_oracle(trace, load, initial=2)
    assert result.name == "clairvoyant" and result.lost == 0
    assert 0.98 <= result.attainment <= 1 and 0 <= result.window_attainment <= 1
    assert 0 <= result.p50_s <= result.p99_s <= result.worst_s == load.latency_target_s
    assert result.peak_replicas == max(n for _, n in result.timeline)
    assert result.busy_hours <= result.replica_hours
    assert result.busy_hours * 3600 == pytest.approx(trace.total / 4, rel=0.02)
    times = [t for t, _ in result.timeline]
    assert times == sorted(times) and times[0] == 0.0
