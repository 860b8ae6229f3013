"""The simulated queue against a naive one and against theory; traces; the policies that demand is compared with."""

from __future__ import annotations

import heapq
import json
import math
import subprocess
import sys
from collections import deque
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.elastic.brownout import choose
from shared.runtime.errors import SettingError
from tests.examples import examples
from tests.scaledobjects import document, lag_trigger, prometheus_trigger
from tests.simulation import World, _plain, both, counts, poisson, static, worlds
from tidegate.keda import scaledobject
from tidegate.keda.scaledobject import ScaledObject
from tidegate.keda.source import NoSeries
from tidegate.simulation import compare, engine, trace
from tidegate.simulation.engine import Result, ScalerView, Workload, run
from tidegate.simulation.generate import generated
from tidegate.simulation.policies import Fixed, Gpus, KedaUtilisation, Kpa, RayServe
from tidegate.simulation.queue import GOLDEN
from tidegate.simulation.trace import Trace, read

ROOT = Path(__file__).parent.parent
DEMAND = ROOT / "deploy/keda/demand/cv.yaml"


def instants(arrivals: Trace, load: Workload) -> tuple[list[float], list[float]]:
    chunks = list(arrivals.chunks(load.service_rate, load.service_cv, load.seed))
    return np.concatenate([c.arrived for c in chunks]).tolist(), np.concatenate([c.work for c in chunks]).tolist()


# ---- a naive simulation: one event after another, knowing nothing of the kernel


class Naive:
    """latencies of what was served, in order of arrival; lost; cost until `until`; finished: the last end.

    later: what is to be looked at again, as (from, segment). deferred: so many ever were.
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
        self.workers: list[list[float]] = []  # [ready, free, asked at]
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
            ready, free, asked = self.workers.pop()
            self.cost += (max(now, free) if ready <= now else now) - asked

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
        """When a batch is done, of which some may be put off."""
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
def test_the_kernel_does_what_a_naive_simulation_does(world: World) -> None:
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
    known = ~np.isnan(result.windows)
    served = np.nan_to_num(result.windows)[: len(minutes)] * minutes
    assert served.sum() == pytest.approx(result.attainment * arrivals.total)
    assert (known[: len(minutes)] == (minutes > 0)).all()
    assert 0 <= result.attainment <= 1 and 0 <= result.window_attainment <= 1
    assert result.lost <= arrivals.total * (1 - result.attainment) + 1e-9


# ---- against what can be computed by hand


def test_a_fleet_that_never_changes_costs_its_size_times_the_time() -> None:
    arrivals = counts(*([2] * 300 + [0] * 60))
    load = Workload(service_rate=4, service_cv=0.2)
    for n in (1, 2, 5):
        result = static(arrivals, load, n)
        assert result.replica_hours * 3600 == pytest.approx(n * 360)
        assert result.cold_starts == n and result.peak_replicas == n and result.reversals_per_hour == 0
        assert result.timeline == [(0.0, n)]


def test_work_left_at_the_end_of_the_trace_is_paid_until_it_is_done() -> None:
    # 40 seconds of work come in the last of ten seconds.
    result = static(counts(*[0] * 9, 40), Workload(service_rate=1, service_cv=0, batch=1), 2)
    assert result.attainment == pytest.approx(10 / 40)
    assert 2 * (9 + 20) <= result.replica_hours * 3600 <= 2 * (10 + 20 + 1)
    assert result.busy_hours * 3600 == pytest.approx(40)


def test_segments_are_served_in_order_one_after_another() -> None:
    # Ten at once, two replicas, one second each: done after 1, 1, 2, 2, ... 5 s, less the moments they came apart.
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


def test_nobody_serves_before_the_cold_start_is_over() -> None:
    arrivals = counts(1, *[0] * 99)
    load = Workload(service_rate=2, service_cv=0, cold_start_s=30, batch=1)
    (at,), _ = instants(arrivals, load)
    result = run(Fixed("late", [(0.0, 0), (20.0, 1)]), arrivals, load, initial=0)
    assert result.worst_s == pytest.approx(20 + 30 + 0.5 - at)
    assert result.replica_hours * 3600 == pytest.approx(80)
    assert result.cold_starts == 1


@pytest.mark.slow
def test_a_replica_told_to_go_finishes_its_batch_and_is_paid_for_it() -> None:
    arrivals = counts(2, *[0] * 99, step_s=1.0)
    load = Workload(service_rate=0.1, service_cv=0, batch=1, max_age_s=1000)
    arrived, _ = instants(arrivals, load)
    result = run(Fixed("down", [(0.0, 2), (5.0, 0)]), arrivals, load, initial=2)
    assert result.lost == 0 and result.busy_hours * 3600 == pytest.approx(20)
    assert result.replica_hours * 3600 == pytest.approx(sum(at + 10 for at in arrived))


def test_a_replica_let_go_while_it_warms_up_costs_what_it_lived() -> None:
    load = Workload(service_rate=1, cold_start_s=60)
    result = run(Fixed("waver", [(0.0, 0), (10.0, 3), (30.0, 0)]), counts(1, *[0] * 99), load, initial=0)
    assert result.replica_hours * 3600 == pytest.approx(3 * 20)
    assert result.lost == 1 and result.attainment == 0


@pytest.mark.slow
def test_what_waits_past_max_age_is_lost_and_counts_as_missed() -> None:
    arrivals = counts(*[1] * 10, *[0] * 110)
    load = Workload(service_rate=10, service_cv=0, cold_start_s=0, max_age_s=20, latency_target_s=50, batch=1)
    arrived, _ = instants(arrivals, load)
    result = run(Fixed("late", [(0.0, 0), (25.0, 1)]), arrivals, load, initial=0)
    lost = sum(25 - at > 20 for at in arrived)
    assert 0 < result.lost == lost < 10
    assert result.attainment == pytest.approx(1 - lost / 10)


def test_one_replica_waits_as_pollaczek_and_khinchine_say() -> None:
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


def test_several_replicas_wait_as_erlang_says() -> None:
    # M/M/3: exponential work is a coefficient of variation of 1. P(wait) is Erlang's C, P(T <= t) follows from it.
    load = Workload(service_rate=1, service_cv=1, batch=1, latency_target_s=2.0, max_age_s=1e6)
    a, c = 2.1, 3
    tail = a**c / math.factorial(c) * c / (c - a)
    waits = tail / (sum(a**k / math.factorial(k) for k in range(c)) + tail)
    t, gap = load.latency_target_s, c - a
    late = math.exp(-t) + waits * (math.exp(-gap * t) - math.exp(-t)) / (1 - gap)
    assert static(poisson(a, 200_000), load, c).attainment == pytest.approx(1 - late, abs=0.006)


# ---- the same whatever the plumbing


@pytest.mark.slow
def test_the_borders_of_chunks_are_invisible(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_same_seed_gives_the_same_result_and_another_another() -> None:
    arrivals = poisson(5, 600)
    load = Workload(service_rate=2, latency_target_s=1)
    assert _plain(static(arrivals, load, 3)) == _plain(static(arrivals, load, 3))
    other = Workload(service_rate=2, latency_target_s=1, seed=2)
    assert static(arrivals, other, 3).busy_hours != static(arrivals, load, 3).busy_hours


WITHOUT_NUMBA = """
import json, sys
sys.modules["numba"] = None
from tests.simulation import both
print(json.dumps(both()))
"""


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
        assert view.arrived == view.pending + view.in_work + view.processed
        assert view.working_s <= sum(work[: view.arrived]) + 1e-9
    working = [view.working_s for _, view in seen]
    done = [view.processed for _, view in seen]
    assert working == sorted(working) and done == sorted(done)
    # After the trace they are looked at once a second or more, until the last is done.
    assert seen[-1][1].processed == arrivals.total or seen[-2][1].in_work


def test_a_policy_that_wakes_hears_of_the_first_segment_at_once() -> None:
    arrivals = counts(*[0] * 50, 1, *[0] * 49)
    load = Workload(
        service_rate=1, service_cv=0, cold_start_s=10, batch=1, latency_target_s=10 + 1 + engine.WAKE_S + 1e-6
    )
    result = run(Kpa("kpa", load), arrivals, load, initial=0)
    assert result.attainment == 1.0
    assert result.timeline[1][0] == pytest.approx(instants(arrivals, load)[0][0] + engine.WAKE_S)


@pytest.mark.parametrize("policy", [Kpa, RayServe])
def test_nobody_is_started_for_nothing_when_a_trace_ends_between_ticks(policy: type[Kpa] | type[RayServe]) -> None:
    load = Workload(service_rate=1, cold_start_s=0)
    arrivals = counts(1, *[0] * 1500, step_s=0.9)
    result = run(policy("p", load), arrivals, load, initial=0)
    assert [n for _, n in result.timeline] == [0, 1, 0]


# ---- traces


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "needs a first line 't_s,arrivals'"),
        ("t_s,arrivals\n", "at least two rows"),
        ("t_s,arrivals\n0,1\n", "at least two rows"),
        ("time,count\n0,1\n1,2\n", "needs a first line 't_s,arrivals'"),
        ("t_s,arrivals\n0,1\n1,many\n", "line 3"),
        ("t_s,arrivals\n0,1\n1\n", "line 3"),
        ("t_s,arrivals\n0,1\n1,-2\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\n1,nan\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\ninf,2\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\n1,1e13\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\n2,1\n1,1\n", "line 4: t_s must grow"),
        ("t_s,arrivals\n0,1\n0,1\n", "line 3: t_s must grow"),
        ("t_s,arrivals\n0,1\n1,1\n2.5,1\n", "even grid"),
        ("t_s,arrivals\n0,1\n1,1\n90000000,1\n", "too many"),
        ("t_s,arrivals\n0,0\n1,0\n", "holds no arrivals"),
    ],
)
def test_a_bad_trace_is_refused_in_words(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(SettingError) as e:
        read(path)
    assert problem in str(e.value) and str(path) in str(e.value)


def test_a_trace_that_cannot_be_read_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"t_s,arrivals\n\xff\xfe,1\n")
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / "binary.csv"):
        with pytest.raises(SettingError, match="can't be read") as e:
            read(path)
        assert str(path) in str(e.value)


def test_rows_left_out_are_steps_without_arrivals(tmp_path: Path) -> None:
    t = read(write(tmp_path / "gaps.csv", "t_s,arrivals\n100,3\n110,1\n140,2\n150,4\n"))
    assert t.name == "gaps" and t.step_s == 10
    assert t.counts.tolist() == [3, 1, 0, 0, 2, 4]
    assert t.duration_s == 60 and t.total == 10 and t.peak_rate == 0.4


@given(
    st.lists(st.integers(0, 60), min_size=3, max_size=40), st.sampled_from([0.5, 1.0, 60.0, 1800.0]), st.integers(0, 9)
)
@settings(max_examples=examples(80))
def test_counts_of_steps_are_kept_exactly_and_slopes_stay_inside_them(n: list[int], step: float, seed: int) -> None:
    t = Trace("t", step, np.array([*n, 1], dtype=np.int64))
    arrived, work = instants(t, Workload(service_rate=2, seed=seed))
    assert arrived == sorted(arrived) and len(work) == t.total
    assert np.histogram(arrived, np.arange(len(t.counts) + 1) * step)[0].tolist() == t.counts.tolist()
    assert min(work) > 0


def test_a_long_step_slopes_as_its_neighbours_do() -> None:
    t = Trace("rise", 1800.0, np.array([1000, 3000, 5000], dtype=np.int64))
    arrived = np.array(instants(t, Workload(service_rate=2))[0])
    within = arrived[(arrived >= 1800) & (arrived < 3600)]
    # From 2000 to 4000 in the step: 2500 in 1 of its first half, 3500 in that of the second.
    assert (within < 2700).mean() == pytest.approx(2500 / 6000, abs=0.03)


def test_work_has_the_rate_and_the_spread_asked_for() -> None:
    work = np.array(instants(poisson(50, 1000), Workload(service_rate=4, service_cv=0.5))[1])
    assert work.mean() == pytest.approx(0.25, rel=0.01)
    assert work.std() / work.mean() == pytest.approx(0.5, rel=0.02)


def test_made_up_traces_are_the_same_for_the_same_seed() -> None:
    one, same, other = generated(1), generated(1), generated(2)
    assert [t.name for t in one] == ["days", "bursts", "flash_crowd", "ramp", "outage"]
    for a, b, c in zip(one, same, other, strict=True):
        assert (a.counts == b.counts).all() and not (a.counts[: len(c.counts)] == c.counts[: len(a.counts)]).all()
        assert a.total and a.counts.min() >= 0
    flash = one[2]
    assert flash.counts[:1800].sum() == 0 and flash.counts[1810:1820].mean() > 15


# ---- Knative's rule


def view(in_system: int, replicas: int, ready: int | None = None) -> ScalerView:
    return ScalerView(
        arrived=0,
        pending=in_system,
        in_work=0,
        replicas=replicas,
        ready=replicas if ready is None else ready,
        processed=0,
        working_s=0,
    )


# A replica clears ten in the latency target: Knative aims at seven, Ray at ten.
TEN = Workload(service_rate=2, latency_target_s=5)


def kpa(*seen: tuple[int, int, int | None]) -> list[int]:
    """Decisions, one a tick, on (in the system, replicas, ready)."""
    policy = Kpa("kpa", TEN)
    return [policy.decide(2.0 * i, view(*s)) for i, s in enumerate(seen)]


def test_knative_averages_a_minute_and_aims_at_seven_tenths() -> None:
    assert kpa(*[(7, 1, None)] * 5) == [1] * 5
    assert kpa(*[(8, 1, None)] * 3)[-1] == 2
    # A minute of 30 ticks: after 15 at 6 and 15 at 12 the mean is 9 of 7.
    assert kpa(*[(6, 1, None)] * 15, *[(12, 1, None)] * 15)[-1] == 2
    # What was more than a minute ago is forgotten.
    assert kpa(*[(12, 1, None)] * 10, *[(6, 1, None)] * 60)[-1] == 1


def test_knative_panics_at_twice_what_is_ready_and_then_only_grows() -> None:
    quiet = [(1, 1, None)] * 30
    rising = kpa(*quiet, (40, 1, None), (40, 1, None), (40, 1, None))
    # The panic window is three ticks: 42/3 of 7 is 2, at which it begins, then 81/3, then 40.
    assert rising[29:] == [1, 2, 4, 6]
    # Over again, it holds the most for a minute after the last tick that was over, and a tick more to let go.
    calm = kpa(*quiet, *[(40, 1, 6)] * 3, *[(1, 6, None)] * 40)
    assert calm[30:33] == [1, 1, 2] or max(calm) <= 6
    held = kpa(*quiet, *[(40, 1, None)] * 3, *[(1, 6, None)] * 40)
    assert held[33 : 33 + 30] == [6] * 30
    assert held[33 + 31] < 6


def test_knative_halves_at_most() -> None:
    # Six replicas that were found in place are held for a minute; then a tick brings them to half.
    down = kpa(*[(1, 6, None)] * 31, (1, 6, None), (1, 3, None), (1, 1, None))
    assert down[:31] == [6] * 31
    assert down[31:] == [3, 1, 1]


def test_knative_goes_to_zero_when_a_minute_had_nothing() -> None:
    assert kpa(*[(7, 1, None)] * 30, *[(0, 1, None)] * 30)[-2:] == [1, 0]


# ---- Ray Serve's rule


def ray(*seen: tuple[int, int, int | None]) -> list[int]:
    policy = RayServe("ray", TEN)
    return [policy.decide(float(i), view(*s)) for i, s in enumerate(seen)]


def test_ray_scales_up_when_thirty_seconds_called_for_it() -> None:
    up = ray(*[(35, 1, None)] * 31)
    assert up[:30] == [1] * 30 and up[30] == 4
    # One look that does not call for it begins anew.
    assert ray(*[(35, 1, None)] * 20, (0, 4, None), *[(35, 1, None)] * 30)[-1] == 1


def test_ray_scales_down_when_ten_minutes_called_for_it() -> None:
    down = ray(*[(5, 4, None)] * 601)
    assert down[:600] == [4] * 600 and down[600] == 1


def test_ray_goes_to_zero_from_one_alone() -> None:
    down = ray(*[(0, 4, None)] * 601, *[(0, 1, None)] * 601)
    assert down[600] == 1 and down[-2:] == [1, 0]


def test_ray_asks_for_one_where_none_runs_and_for_no_more_until_it_does() -> None:
    assert ray((0, 0, 0), (0, 0, 0), (30, 0, 0)) == [0, 0, 1]
    starting = ray(*[(100, 1, 0)] * 90, *[(100, 1, 1)] * 31)
    assert starting[:120] == [1] * 120 and starting[120] == 10


# ---- GPU utilisation


def busy(replicas: int, working_s: float) -> ScalerView:
    return ScalerView(
        arrived=0, pending=0, in_work=0, replicas=replicas, ready=replicas, processed=0, working_s=working_s
    )


def test_prometheus_has_what_gpus_did_in_the_last_interval_and_has_it_late() -> None:
    """Two replicas are busy from the first second on: a sum of 2 that nobody hears of for 37.5 s."""
    gpus, heard = Gpus(), {}
    while gpus.next_at <= 120:
        now = gpus.next_at
        gpus.observe(now, busy(2, min(2 * now, 90.0)))
        heard[now] = gpus.query()
    # After 45 s nothing is left to do: the mean of the second interval is a half of it.
    assert {at: heard[at] for at in (22.5, 37.5, 52.5, 67.5, 97.5)} == {22.5: 0, 37.5: 2, 52.5: 2, 67.5: 1, 97.5: 0}


def test_nothing_runs_and_no_series_is_there() -> None:
    gpus = Gpus()
    assert isinstance(gpus.query(), NoSeries)
    while gpus.next_at <= 60:
        gpus.observe(gpus.next_at, busy(0, 0.0))
    assert isinstance(gpus.query(), NoSeries)


def by_utilisation(*triggers: dict[str, object]) -> ScaledObject:
    return scaledobject.parse(yaml.safe_dump(document(triggers=list(triggers), pollingInterval=5)))


WAKES = lag_trigger(lagThreshold="1000000")


def test_utilisation_alone_never_starts_a_service_that_is_at_zero() -> None:
    arrivals = counts(*[0] * 30, *[1] * 600)
    load = Workload(service_rate=2, cold_start_s=10)
    asleep = run(KedaUtilisation("u", by_utilisation(prometheus_trigger())), arrivals, load, initial=0)
    assert (asleep.attainment, asleep.peak_replicas) == (0.0, 0)
    woken = run(KedaUtilisation("u", by_utilisation(WAKES, prometheus_trigger())), arrivals, load, initial=0)
    assert woken.attainment > 0.9 and woken.lost == 0


def test_utilisation_settles_where_gpus_are_as_busy_as_its_threshold() -> None:
    """Seven a second keep three and a half replicas busy: five by 0.7, and seven by 0.5."""
    load = Workload(service_rate=2, cold_start_s=20)
    for threshold, replicas in (("0.7", 5), ("0.5", 7)):
        scaled = by_utilisation(WAKES, prometheus_trigger(threshold=threshold))
        result = run(KedaUtilisation("u", scaled), poisson(7, 3600), load, initial=4)
        # What had piled up before the first replica was there is forgotten by then.
        last = [n for at, n in result.timeline if at >= 1800] or [result.timeline[-1][1]]
        assert last == pytest.approx([replicas] * len(last), abs=1)


def test_utilisation_does_not_say_how_much_is_missing() -> None:
    """Work for ten replicas comes from the first second on; each step adds three sevenths of those that run."""
    load = Workload(service_rate=1, service_cv=0, cold_start_s=0, latency_target_s=30)
    scaled = by_utilisation(WAKES, prometheus_trigger())
    result = run(KedaUtilisation("u", scaled), counts(*[10] * 900), load, initial=0)
    asked = [n for _, n in result.timeline]
    assert all(b <= math.ceil(a / 0.7) for a, b in pairwise(asked) if b > a > 0)
    # The lag would have asked for all of them at its second look.
    assert next(at for at, n in result.timeline if n >= 10) > 150
    # Whoever waits keeps the GPUs busy, so that it asks for more for as long as there is a backlog.
    assert result.peak_replicas > 20


# ---- all of them together


def test_all_policies_are_compared_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = poisson(6, 1200)
    load = Workload(service_rate=4, cold_start_s=30)
    monkeypatch.setattr(compare, "THRESHOLDS", (0.5,))
    monkeypatch.setattr(compare, "DOWN_WINDOWS_S", (15, 300))
    said: list[str] = []
    names = ("static_peak", "lag_tuned", "clairvoyant", "kpa")
    results = compare.compare(arrivals, load, scaledobject.load(DEMAND), names, tell=said.append)
    assert [r.name for r in results] == list(names)
    # The tuned one is judged by what demand serves, so demand is simulated too.
    assert said == ["demand", "static_peak", "clairvoyant", "kpa", "lag_tuned, 8 settings"]
    by_name = {r.name: r for r in results}
    assert by_name["clairvoyant"].replica_hours == min(r.replica_hours for r in results)
    assert by_name["static_peak"].attainment == 1.0


def test_utilisation_is_tuned_with_and_without_the_lag_rule_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "UTILISATIONS", (0.7, 0.9))
    monkeypatch.setattr(compare, "DOWN_WINDOWS_S", (300,))
    load = Workload(service_rate=4, cold_start_s=30)
    names = ("utilisation", "utilisation_tuned")
    said: list[str] = []
    default, tuned = compare.compare(poisson(6, 1800), load, scaledobject.load(DEMAND), names, tell=said.append)
    assert said == ["demand", "utilisation", "utilisation_tuned, 8 settings"]
    assert (default.name, tuned.name) == names
    assert tuned.settings.partition(" of")[0] in ("70%", "90%") and "scale-down window 300 s" in tuned.settings


def test_the_tuned_keda_is_the_cheapest_that_serves_as_many_minutes() -> None:
    def of(hours: float, served: float) -> Result:
        values = dict.fromkeys(Result.__struct_fields__, 0)
        return Result(**{**values, "name": "x", "replica_hours": hours, "window_attainment": served})

    cheap, dear, poor = of(1, 0.95), of(2, 0.99), of(0.5, 0.8)
    assert min([poor, dear, cheap], key=lambda r: compare._worth(r, 0.95)) is cheap
    assert min([poor, cheap], key=lambda r: compare._worth(r, 0.999)) is cheap


def test_a_static_fleet_is_as_large_as_the_busiest_stretch_needs() -> None:
    load = Workload(service_rate=2, latency_target_s=3)
    assert compare.peak(counts(0, 0, 12, 0, 0), load) == 2
    assert compare.peak(counts(120, 0, step_s=10.0), load) == 6
    assert compare.peak(counts(0, 1, 0), load) == 1
    assert compare.initial(counts(*[0] * 60, 50), load) == 0
    assert compare.initial(counts(*[5] * 60), load) == 3


def test_demand_needs_a_scaled_object_that_scales_by_it() -> None:
    scaled = scaledobject.load(ROOT / "deploy/keda/cv.yaml")
    with pytest.raises(SettingError, match="Tidegate's scaler"):
        compare.demand_scaled(scaled, TEN)
