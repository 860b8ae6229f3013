"""The simulated queue against a naive one and against theory."""

from __future__ import annotations

import heapq
import json
import math
import subprocess
import sys
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings

from shared.elastic.brownout import choose
from tests.support.examples import examples
from tests.support.paths import ROOT
from tests.support.worlds.policies import instants
from tests.support.worlds.simulation import World, _plain, both, counts, poisson, static, worlds
from tidegate.simulation import engine, trace
from tidegate.simulation.engine import ScalerView, Workload, run
from tidegate.simulation.policies import Fixed, Kpa, RayServe
from tidegate.simulation.queue import GOLDEN
from tidegate.simulation.trace import Trace


class Naive:
    """latencies of what was served, in order of arrival; lost; cost until `until`; finished: the last end.

    later: segments to analyse again, as (from, segment). deferred: how many ever were.
    """

    def __init__(self, arrivals: Trace, load: Workload, schedule: list[tuple[float, int]], initial: int) -> None:
        self.load = load
        arrived, self.work = instants(arrivals, load)
        self.arrived = arrived
        self.events: list[tuple[float, int, str, int]] = []
        for i, at in enumerate(arrived):
            heapq.heappush(self.events, (at, 1, "arrives", i))
        for at, n in schedule:
            heapq.heappush(self.events, (at, 0, "scale", n))
        self.waiting: deque[int] = deque()
        self.workers: list[list[float]] = []  # [ready, free, requested at]
        self.latency: dict[int, float] = {}
        self.lost = 0
        self.cost = 0.0
        self.busy = 0.0
        self.finished = 0.0
        self.later: deque[tuple[float, int]] = deque()
        self.deferred = 0
        for _ in range(initial):
            self.workers.append([0.0, 0.0, 0.0])
        while self.events:
            now, _, kind, value = heapq.heappop(self.events)
            if kind == "arrives":
                self.waiting.append(value)
            elif kind == "scale":
                self._scale(now, value)
            self._serve(now)
        self.lost += len(self.waiting)
        for worker in self.workers:
            self.cost += arrivals.duration_s - worker[2]

    def _scale(self, now: float, n: int) -> None:
        while len(self.workers) < n:
            ready = now + self.load.cold_start_s
            self.workers.append([ready, ready, now])
            heapq.heappush(self.events, (ready, 2, "ready", 0))
        while len(self.workers) > n:
            ready, free, request = self.workers.pop()
            self.cost += (max(now, free) if ready <= now else now) - request

    def _serve(self, now: float) -> None:
        while self.waiting:
            while self.waiting and now - self.arrived[self.waiting[0]] > self.load.max_age_s:
                self.waiting.popleft()
                self.lost += 1
            idle = [(w[1], i) for i, w in enumerate(self.workers) if w[1] <= now]
            if not idle or not self.waiting:
                return
            batch = [self.waiting.popleft() for _ in range(min(self.load.batch, len(self.waiting)))]
            end = self._ends(now, batch)
            self.busy += end - now
            self.finished = max(self.finished, end)
            self.workers[min(idle)[1]][1] = end
            for i in batch:
                self.latency[i] = end - self.arrived[i]
            heapq.heappush(self.events, (end, 2, "free", 0))
        while self.later and self.later[0][0] <= now:
            idle = [(w[1], i) for i, w in enumerate(self.workers) if w[1] <= now]
            if not idle:
                return
            _, segment = self.later.popleft()
            if now - self.arrived[segment] <= self.load.max_age_s:
                end = self.workers[min(idle)[1]][1] = now + self.work[segment]
                heapq.heappush(self.events, (end, 2, "free", 0))

    def _ends(self, now: float, batch: list[int]) -> float:
        """Return when a batch is done, of which some may be deferred."""
        end, put_off = now, []
        for i in batch:
            level = 0
            if elastic := self.load.elastic:
                age = (end - self.arrived[i]) / self.load.latency_target_s
                level = choose(age, i * GOLDEN % 1, elastic.tuning.begins, elastic.tuning.spread)
                end += self.work[i] * elastic.costs[level]
            else:
                end += self.work[i]
            if level:
                put_off.append(i)
        self.later += [(end, i) for i in put_off]
        self.deferred += len(put_off)
        return end


@given(worlds())
@settings(max_examples=examples(250))
def test_the_kernel_equals_a_naive_simulation(world: World) -> None:
    arrivals, load, schedule, first = world
    naive = Naive(arrivals, load, schedule, first)
    last = schedule[-1][1] if schedule else first
    result = run(Fixed("schedule", [(0.0, first), *schedule]), arrivals, load, initial=first)
    on_time = sum(latency <= load.latency_target_s for latency in naive.latency.values())
    assert result.lost == naive.lost
    assert len(naive.latency) + naive.lost == arrivals.total
    assert result.attainment == pytest.approx(on_time / arrivals.total)
    assert result.busy_hours * 3600 == pytest.approx(naive.busy)
    assert result.deferred == naive.deferred
    assert result.worst_s == pytest.approx(max(naive.latency.values(), default=0.0))
    # Until all is done, found out once a second; what waits in vain is waited for until it is lost.
    after = max(0.0, naive.finished - arrivals.duration_s)
    after += load.max_age_s + load.cold_start_s if naive.lost else 0.0
    spent = result.replica_hours * 3600 - naive.cost
    assert -1e-6 <= spent <= last * (after + 2 * engine.TAIL_S) + 1e-6


@given(worlds())
@settings(max_examples=examples(60))
def test_every_segment_is_counted_once_and_in_its_minute(world: World) -> None:
    arrivals, load, schedule, first = world
    policy = Fixed("schedule", [(0.0, first), *schedule])
    result = run(policy, arrivals, load, initial=first)
    minutes = np.add.reduceat(arrivals.counts, np.arange(0, len(arrivals.counts), 60))
    mask = ~np.isnan(result.windows)
    served = np.nan_to_num(result.windows)[: len(minutes)] * minutes
    assert served.sum() == pytest.approx(result.attainment * arrivals.total)
    assert (mask[: len(minutes)] == (minutes > 0)).all()
    assert 0 <= result.attainment <= 1 and 0 <= result.window_attainment <= 1
    assert result.lost <= arrivals.total * (1 - result.attainment) + 1e-9


def test_a_fleet_that_never_changes_costs_its_size_times_the_time() -> None:
    arrivals = counts(*([2] * 300 + [0] * 60))
    load = Workload(service_rate=4, service_cv=0.2)
    for n in (1, 2, 5):
        result = static(arrivals, load, n)
        assert result.replica_hours * 3600 == pytest.approx(n * 360)
        assert result.cold_starts == n and result.peak_replicas == n and result.reversals_per_hour == 0
        assert result.timeline == [(0.0, n)]


def test_remaining_work_after_the_trace_is_paid_until_it_is_done() -> None:
    # 40 seconds of work come in the last of ten seconds.
    result = static(counts(*[0] * 9, 40), Workload(service_rate=1, service_cv=0, batch=1), 2)
    assert result.attainment == pytest.approx(10 / 40)
    assert 2 * (9 + 20) <= result.replica_hours * 3600 <= 2 * (10 + 20 + 1)
    assert result.busy_hours * 3600 == pytest.approx(40)


def test_segments_are_served_in_order_one_after_another() -> None:
    # A burst of ten, two replicas, one second each: done after 1, 1, 2, 2, ... 5 s, less the gaps between arrivals.
    arrivals = counts(10, *[0] * 20, step_s=1e-6)
    load = Workload(service_rate=1, service_cv=0, batch=1, latency_target_s=3.0001)
    result = static(arrivals, load, 2)
    assert result.attainment == pytest.approx(0.6)
    assert result.worst_s == pytest.approx(5, abs=1e-4)
    assert result.p50_s == pytest.approx(3, rel=0.02)


def test_a_batch_is_done_when_its_last_segment_is() -> None:
    arrivals = counts(8, 0, step_s=1e-6)
    load = Workload(service_rate=1, service_cv=0, batch=4, latency_target_s=4.0001)
    result = static(arrivals, load, 2)
    # The first is alone in its batch, as it was there first; the others go by four, four and what is left.
    assert result.worst_s == pytest.approx(5, abs=1e-3)
    assert result.busy_hours * 3600 == pytest.approx(8)


def test_no_replica_serves_before_its_cold_start_is_over() -> None:
    arrivals = counts(1, *[0] * 99)
    load = Workload(service_rate=2, service_cv=0, cold_start_s=30, batch=1)
    (at,), _ = instants(arrivals, load)
    result = run(Fixed("late", [(0.0, 0), (20.0, 1)]), arrivals, load, initial=0)
    assert result.worst_s == pytest.approx(20 + 30 + 0.5 - at)
    assert result.replica_hours * 3600 == pytest.approx(80)
    assert result.cold_starts == 1


@pytest.mark.slow
def test_a_stopped_replica_finishes_its_batch_and_is_paid_for_it() -> None:
    arrivals = counts(2, *[0] * 99, step_s=1.0)
    load = Workload(service_rate=0.1, service_cv=0, batch=1, max_age_s=1000)
    arrived, _ = instants(arrivals, load)
    result = run(Fixed("down", [(0.0, 2), (5.0, 0)]), arrivals, load, initial=2)
    assert result.lost == 0 and result.busy_hours * 3600 == pytest.approx(20)
    assert result.replica_hours * 3600 == pytest.approx(sum(at + 10 for at in arrived))


def test_a_replica_released_during_warm_up_costs_its_lifetime() -> None:
    load = Workload(service_rate=1, cold_start_s=60)
    result = run(Fixed("waver", [(0.0, 0), (10.0, 3), (30.0, 0)]), counts(1, *[0] * 99), load, initial=0)
    assert result.replica_hours * 3600 == pytest.approx(3 * 20)
    assert result.lost == 1 and result.attainment == 0


@pytest.mark.slow
def test_segments_past_max_age_are_lost_and_count_as_missed() -> None:
    arrivals = counts(*[1] * 10, *[0] * 110)
    load = Workload(service_rate=10, service_cv=0, cold_start_s=0, max_age_s=20, latency_target_s=50, batch=1)
    arrived, _ = instants(arrivals, load)
    result = run(Fixed("late", [(0.0, 0), (25.0, 1)]), arrivals, load, initial=0)
    lost = sum(25 - at > 20 for at in arrived)
    assert 0 < result.lost == lost < 10
    assert result.attainment == pytest.approx(1 - lost / 10)


def test_one_replica_matches_the_pollaczek_khinchine_formula() -> None:
    # M/D/1: the mean wait is rho / (2 mu (1 - rho)). The mean of binned latencies is good to a percent.
    rate, load = 0.7, Workload(service_rate=1, service_cv=0, batch=1, latency_target_s=1000)
    arrivals = poisson(rate, 200_000)
    naive = Naive(arrivals, load, [], 1)
    wait = sum(naive.latency.values()) / len(naive.latency) - 1
    assert wait == pytest.approx(rate / (2 * (1 - rate)), rel=0.06)
    result = static(arrivals, load, 1)
    values = sorted(naive.latency.values())
    assert result.p50_s == pytest.approx(values[len(values) // 2], rel=0.011)
    assert result.p99_s == pytest.approx(values[int(0.99 * len(values))], rel=0.011)


def test_several_replicas_match_the_erlang_formula() -> None:
    # M/M/3: exponential work is a coefficient of variation of 1. P(wait) is Erlang's C, P(T <= t) follows from it.
    load = Workload(service_rate=1, service_cv=1, batch=1, latency_target_s=2.0, max_age_s=1e6)
    a, c = 2.1, 3
    tail = a**c / math.factorial(c) * c / (c - a)
    waits = tail / (sum(a**k / math.factorial(k) for k in range(c)) + tail)
    t, gap = load.latency_target_s, c - a
    late = math.exp(-t) + waits * (math.exp(-gap * t) - math.exp(-t)) / (1 - gap)
    assert static(poisson(a, 200_000), load, c).attainment == pytest.approx(1 - late, abs=0.006)


@pytest.mark.slow
def test_chunk_borders_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    # The generator draws chunk by chunk, so only work that is no draw, at times that are none, can be compared.
    arrivals = Trace("even", 1.0, np.ones(400, dtype=np.int64))
    monkeypatch.setattr(trace, "_sloped", lambda u, slope: np.full(len(u), 0.25))
    load = Workload(service_rate=1.05, service_cv=0, cold_start_s=7, batch=3, max_age_s=30, latency_target_s=3)
    schedule = [(0.0, 1), (100.0, 0), (150.5, 2), (300.0, 1)]
    whole = run(Fixed("x", schedule), arrivals, load, initial=1)
    for size in (1, 7, 64):
        monkeypatch.setattr(trace, "CHUNK", size)
        parts = run(Fixed("x", schedule), arrivals, load, initial=1)
        assert _plain(parts) == _plain(whole)


def test_a_seed_fixes_the_result_and_another_changes_it() -> None:
    arrivals = poisson(5, 600)
    load = Workload(service_rate=2, latency_target_s=1)
    assert _plain(static(arrivals, load, 3)) == _plain(static(arrivals, load, 3))
    other = Workload(service_rate=2, latency_target_s=1, seed=2)
    assert static(arrivals, other, 3).busy_hours != static(arrivals, load, 3).busy_hours


WITHOUT_NUMBA = """
import json, sys
sys.modules["numba"] = None
from tests.support.worlds.simulation import both
print(json.dumps(both()))
"""


@pytest.mark.slow
def test_without_numba_the_numbers_are_the_same() -> None:
    out = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == json.loads(json.dumps(both()))


def test_a_scaler_sees_the_segments_that_came_and_where_they_are() -> None:
    seen: list[tuple[float, ScalerView]] = []

    class Look:
        name, wakes = "look", False
        next_at = 0.0

        def decide(self, now: float, view: ScalerView) -> int:
            self.next_at = now + 0.73
            seen.append((now, view))
            return 2 if now < 20 else 1 if now < 30 else 3

    arrivals = poisson(3, 60)
    load = Workload(service_rate=1, service_cv=0.5, cold_start_s=4, batch=2)
    arrived, work = instants(arrivals, load)
    run(Look(), arrivals, load, initial=2)
    for now, view in seen:
        assert view.arrived == sum(at < now for at in arrived)
        assert view.arrived == view.pending + view.in_flight + view.processed
        assert view.working_s <= sum(work[: view.arrived]) + 1e-9
    working = [view.working_s for _, view in seen]
    done = [view.processed for _, view in seen]
    assert working == sorted(working) and done == sorted(done)
    # After the trace the scaler runs each second or more often, until the last segment is done.
    assert seen[-1][1].processed == arrivals.total or seen[-2][1].in_flight


def test_a_policy_that_wakes_gets_the_first_segment_immediately() -> None:
    arrivals = counts(*[0] * 50, 1, *[0] * 49)
    load = Workload(
        service_rate=1, service_cv=0, cold_start_s=10, batch=1, latency_target_s=10 + 1 + engine.WAKE_S + 1e-6
    )
    result = run(Kpa("kpa", load), arrivals, load, initial=0)
    assert result.attainment == 1.0
    assert result.timeline[1][0] == pytest.approx(instants(arrivals, load)[0][0] + engine.WAKE_S)


@pytest.mark.parametrize("policy", [Kpa, RayServe])
def test_no_replica_starts_for_nothing_when_a_trace_ends_between_ticks(policy: type[Kpa] | type[RayServe]) -> None:
    load = Workload(service_rate=1, cold_start_s=0)
    arrivals = counts(1, *[0] * 1500, step_s=0.9)
    result = run(policy("p", load), arrivals, load, initial=0)
    assert [n for _, n in result.timeline] == [0, 1, 0]
