"""How many replicas demand asks for: in properties, in a small world that follows each request, and in words."""

from __future__ import annotations

import copy
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import bench_phases as phases
from services.scaler.demand.observation import DeferredSegments, Observation, Workers
from services.scaler.demand.policy import Demand, DemandSettings
from tests.support.examples import examples
from tests.support.paths import ROOT
from tests.support.worlds.demand_world import World
from tidegate.keda import scaledobject
from tidegate.simulation import compare
from tidegate.simulation.engine import Workload, run
from tidegate.simulation.generate import generated
from tidegate.simulation.policies import KedaDemand
from tidegate.simulation.trace import Trace

SCALED = scaledobject.load(ROOT / "deploy/keda/demand/cv.yaml")


@st.composite
def histories(draw: st.DrawFn) -> list[Observation]:
    now, arrived, processed, working = draw(st.sampled_from([0.0, 1e6])), draw(st.integers(0, 10**9)), 0.0, 0.0
    history = []
    for _ in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([0.0, 0.25, 1.0, 1.0, 1.0, 5.0, 120.0, 7200.0]))
        arrived = draw(st.integers(0, 50)) if draw(st.integers(0, 40)) == 40 else arrived + draw(st.integers(0, 500))
        processed += draw(st.sampled_from([0.0, 0.0, 3.0, 400.0]))
        working += draw(st.sampled_from([0.0, 0.5, 20.0]))
        fleet = Workers(
            ready=draw(st.integers(0, 30)),
            loading=draw(st.integers(0, 30)),
            processed=processed,
            working_s=working,
        )
        history.append(
            Observation(
                time=now,
                arrived=arrived,
                pending=draw(st.sampled_from([0, 1, 17, 100_000])),
                in_flight=draw(st.integers(0, 60)),
                fleet=draw(st.sampled_from([fleet, fleet, fleet, None])),
                deferred=draw(
                    st.sampled_from([None, DeferredSegments(ever=arrived, waiting=arrived // 2, retention_s=600)])
                ),
            )
        )
    return history


any_settings = st.builds(
    DemandSettings,
    latency_target_s=st.sampled_from([0.1, 2.0, 600.0]),
    cold_start_s=st.sampled_from([0.0, 4.0, 60.0, 420.0]),
    headroom=st.sampled_from([0.0, 0.5]),
    lag_threshold=st.sampled_from([0.5, 10.0]),
    loss_budget=st.sampled_from([0.0, 0.02, 1.0]),
    defer_limit=st.sampled_from([0.0, 0.05, 1.0]),
)


@given(any_settings, histories())
@settings(max_examples=examples(150))
def test_an_estimate_is_finite_and_not_below_zero(s: DemandSettings, history: list[Observation]) -> None:
    demand = Demand(s)
    for o in history:
        e = demand.observe(o)
        numbers = [v for v in msgspec.structs.astuple(e) if isinstance(v, (int, float))]
        assert all(math.isfinite(n) for n in numbers)
        assert e.replicas >= 0 and e.arrival_rate >= 0 and e.planned_rate >= 0
        assert e.active or e.replicas == 0
        assert e.active or o.backlog == 0 or e.backlog_stuck
        assert all(line and "nan" not in line and "inf " not in line for line in e.explain())


@given(any_settings, histories(), st.integers(1, 10_000))
@settings(max_examples=examples(150))
def test_a_larger_backlog_never_asks_for_less(s: DemandSettings, history: list[Observation], more: int) -> None:
    # Where messages wait either way: that some do is itself a measurement. And of a fleet that is heard: without one, a
    # backlog that shrank is a sign of workers that are unheard, and the lag rule holds.
    *before, last = history
    demand = Demand(s)
    for o in before:
        demand.observe(o)
    ready = last.fleet.ready if last.fleet else 1
    last = msgspec.structs.replace(
        last,
        pending=last.pending + 1,
        fleet=last.fleet or Workers(ready=ready, loading=0, processed=0, working_s=0),
    )
    larger = msgspec.structs.replace(last, pending=last.pending + more)
    assert copy.deepcopy(demand).observe(larger).replicas >= copy.deepcopy(demand).observe(last).replicas - 1e-9


def test_an_extreme_sum_gives_a_finite_estimate() -> None:
    # Work that never ends drives the measured rate towards nothing.
    demand = Demand(DemandSettings())
    for t in range(0, 40_000, 20):
        fleet = Workers(ready=4, loading=0, processed=min(t, 100), working_s=4.0 * t)
        estimate = demand.observe(Observation(time=float(t), arrived=1000 * t, pending=10**6, in_flight=8, fleet=fleet))
        assert math.isfinite(estimate.replicas)


@pytest.mark.parametrize(("rate", "cold"), [(2, 60), (10, 4), (10, 60), (10, 300), (30, 60)])
def test_a_steady_site_gets_its_replicas_and_no_changes(rate: int, cold: int) -> None:
    load = Workload(service_rate=4, cold_start_s=cold)
    trace = Trace("steady", 1.0, np.random.default_rng(2).poisson(rate, 3 * 3600).astype(np.int64))
    policy = KedaDemand("demand", compare.demand_scaled(SCALED, load), compare.demand_settings(load))
    result = run(policy, trace, load, initial=compare.initial(trace, load))
    need = math.ceil(rate / 4)
    assert need - 0.2 <= result.replica_hours / 3 <= need * 1.15 + 0.5
    assert result.attainment > 0.985 and result.window_attainment > 0.9
    # Some sites lie at the border to one more replica.
    assert result.reversals_per_hour <= 25


@pytest.mark.parametrize("cold", [4, 60, 300])
def test_a_burst_from_zero_is_worked_off_and_requested_once(cold: int) -> None:
    world = World(lambda t: 20 if t >= 100 else 0, cold=cold).run(100)
    assert not world.last.active and world.last.replicas == 0
    world.run(3 * cold + 120)
    # Five for the arrivals, some margin, and at most twice as many again for the backlog.
    assert max(world.replicas) <= 3 * 5 * 1.3
    assert world.left <= 20 * 5
    world.run(300)
    assert max(world.replicas[-100:]) <= 7


def test_one_message_on_an_idle_stream_starts_a_replica_immediately() -> None:
    world = World(lambda t: 0).run(300)
    world.arrived += 1
    world.left += 1
    estimate = world.demand.observe(msgspec.structs.replace(world.observation(), time=300.1))
    assert estimate.active and 0 < estimate.replicas <= 1


@pytest.mark.parametrize("slope", [0.0035, 0.02])
def test_replicas_are_ready_before_a_ramp_needs_them(slope: float) -> None:
    world = World(lambda t: 4 + slope * max(0, t - 1200)).run(1200)
    short = 0
    for _ in range(3600):
        at = world.now
        world._second()
        short += world.ready * world.rate < world.arrivals(at)
    assert short <= 0.05 * 3600
    assert world.left < world.arrivals(world.now) * 5


@pytest.mark.slow
def test_a_daily_pattern_costs_much_less_than_its_peak() -> None:
    days = generated()[0]
    day = Trace("day", days.step_s, days.counts[: len(days.counts) // 4])
    load = Workload(service_rate=2, cold_start_s=60)
    policy = KedaDemand("demand", compare.demand_scaled(SCALED, load), compare.demand_settings(load))
    result = run(policy, day, load, initial=compare.initial(day, load))
    assert result.attainment > 0.99 and result.window_attainment > 0.95
    assert result.busy_hours < result.replica_hours < 0.7 * compare.peak(day, load) * 24


def test_an_idle_stream_scales_to_zero_and_stays_there() -> None:
    world = World(lambda t: 8 if t < 900 else 0).run(900)
    assert world.replicas[-1] >= 2
    world.run(200)
    assert world.replicas[-1] == 0 and not world.last.active and world.last.replicas == 0
    world.run(600)
    assert set(world.replicas) == {0}


def test_the_last_replica_is_held_for_about_a_cold_start() -> None:
    world = World(lambda t: 2 if t < 900 else 0, cold=60).run(900)
    world.run(30)
    assert world.last.active and world.replicas[-1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("cold", [4, 60, 180])
@pytest.mark.parametrize("questions", [1, 2])
def test_one_question_costs_one_start(cold: int, questions: int) -> None:
    """Too little is done for a rate to be known, and what demand held for it was back 5 s after each scale to zero."""
    counts = np.zeros(3600, dtype=np.int64)
    counts[600 : 600 + questions] = 1
    load = Workload(service_rate=4, cold_start_s=cold, latency_target_s=10, max_replicas=8)
    result = run(
        KedaDemand("demand", compare.demand_scaled(SCALED, load), compare.demand_settings(load)),
        Trace("questions", 1.0, counts),
        load,
        initial=0,
    )
    assert result.cold_starts == 1
    assert result.timeline[-1][1] == 0


@pytest.mark.parametrize("name", phases.LOADS)
@pytest.mark.parametrize("cold", phases.COLD_STARTS_S)
def test_costs_hardly_depend_on_the_phase_of_the_hpa(name: str, cold: float) -> None:
    costs = phases.costs(name, cold, range(0, phases.PHASES, 5))
    assert phases.spread(costs) <= phases.TARGET


@pytest.mark.parametrize("offset", range(15))
def test_the_end_of_a_surge_is_detected_at_any_phase(offset: int) -> None:
    """Its beginning was taken for chance, which hid the end: for two minutes its rate was reckoned with."""
    begins, ends = 120 + offset, 180 + offset
    world = World(lambda t: 13.5 if begins <= t < ends else 2.7, cold=5)
    world.run(ends + 20)
    assert world.last.arrival_rate < 2 * 2.7


def test_old_arrivals_start_no_replica_after_scaling_to_zero() -> None:
    """Without any replica the forecast of arrivals is all backlog."""
    world = World(lambda t: 2.7 if t < 300 else 0.0, cold=20).run(300).run(600)
    falls = [i for i, n in enumerate(world.replicas) if n == 0]
    assert falls and all(n == 0 for n in world.replicas[falls[0] :])


def test_workers_twice_as_slow_are_followed_within_two_minutes() -> None:
    world = World(lambda t: 10).run(1500)
    assert world.last.service_rate == pytest.approx(4, rel=0.02)
    world.rate = 2
    world.run(60)
    assert world.last.service_rate < 3
    world.run(60)
    assert world.last.service_rate == pytest.approx(2, rel=0.2)
    assert world.replicas[-1] >= 5
    world.run(240)
    assert world.left < 10 * 5


def test_the_lag_rule_applies_without_heartbeats_and_demand_with_them() -> None:
    world = World(lambda t: 10).run(600)
    assert world.last.basis == "demand"
    world.unheard = world.deaf = True
    world.run(30)
    assert world.last.basis == "lag" and world.last.service_rate == pytest.approx(4, rel=0.05)
    world.left += 150
    world.arrived += 150
    world.run(1)
    # A replica for each 0.75 of what it clears in the latency target.
    assert world.last.backlog_replicas == pytest.approx(world.last.backlog / 15, rel=0.05)
    world.unheard = world.deaf = False
    world.run(5)
    assert world.last.basis == "demand"


def test_the_measured_rate_stays_in_use_without_replicas() -> None:
    world = World(lambda t: 8 if t < 600 else 0).run(1200)
    assert world.replicas[-1] == 0
    world.arrivals = lambda t: 8
    world.deaf = True
    world.run(40)
    assert world.last.basis == "demand" and world.last.measured
    assert world.last.arrival_replicas == pytest.approx(2, rel=0.5)


def test_warming_replicas_stay_while_they_will_be_needed() -> None:
    world = World(lambda t: 20 if t >= 10 else 0, cold=120).run(60)
    request = world.replicas[-1]
    assert request >= 5 and world.ready == 0
    # During the whole cold start the backlog grows: no replica is released, and few more are requested.
    world.run(70)
    assert min(world.replicas) >= request and max(world.replicas) <= 3 * 5 * 1.3
    assert world.last.warming == 0 or world.last.warming <= 3 * 5 * 1.3


def test_requested_replicas_count_before_their_first_heartbeat() -> None:
    # A pod that waits for a node sends no heartbeat. Without the memory of it, the wish would grow with the backlog.
    demand = Demand(DemandSettings(latency_target_s=5, cold_start_s=60))
    processed, working, arrived, estimates = 0.0, 0.0, 0, []
    for t in range(400):
        arrived += 4 if t < 300 else 12
        processed, working = processed + 4, working + 1
        fleet = Workers(ready=1, loading=0, processed=processed, working_s=working)
        backlog = 2 + max(0, 8 * (t - 299))
        estimates.append(
            demand.observe(Observation(time=float(t), arrived=arrived, pending=backlog - 2, in_flight=2, fleet=fleet))
        )
    wishes = [e.replicas for e in estimates[320:375]]
    assert max(wishes) <= 3 * 3 * 1.3
    assert estimates[340].warming >= 2


@pytest.mark.parametrize(("arrivals", "need"), [(0, 1), (2, 1), (6, 2), (12, 4)])
def test_redelivered_failures_do_not_hold_replicas(arrivals: int, need: int) -> None:
    world = World(lambda t: arrivals, poison=200, ready=need).run(900)
    world.run(1800)
    # A replica more while it is tried whether there is room, which there must be by 1.3 times.
    assert sum(world.replicas) / len(world.replicas) <= need + 0.7
    assert max(world.replicas) <= need + 1


def test_messages_that_never_end_do_not_block_the_others() -> None:
    world = World(lambda t: 2, hogs=1, ready=1).run(900)
    world.run(1800)
    # One replica stays busy for ever, and one or two serve the other messages.
    assert min(world.replicas) >= 2 and sum(world.replicas) / 1800 <= 3
    assert world.left < 2 * 5
    alone = World(lambda t: 0, hogs=1, ready=1).run(900)
    assert alone.run(900).replicas[-1] <= 1


def test_a_new_observer_releases_nothing_immediately() -> None:
    world = World(lambda t: 20, ready=8).run(44)
    assert set(world.replicas) == {8} and min(e.replicas for e in world.estimates) >= 8
    world.run(120)
    assert 5 <= world.replicas[-1] <= 7


def test_an_interval_of_five_seconds_decides_nearly_the_same() -> None:
    def rate(t: float) -> float:
        return 10 + 6 * math.sin(t / 900)

    means = [sum(World(rate, every=every).run(5400).replicas) / 5400 for every in (1, 5)]
    assert means[1] == pytest.approx(means[0], rel=0.08)


@pytest.mark.parametrize("gap", [30, 300, 86_400])
def test_a_gap_between_observations_is_no_burst(gap: int) -> None:
    world = World(lambda t: 10, seed=None).run(900)
    before = world.last.replicas
    world.now += gap
    world.arrived += 10 * gap
    world.processed += 10 * gap
    world.working += 2.5 * gap
    world.run(60)
    assert max(e.replicas for e in world.estimates) <= max(4.0, 1.3 * before)
    assert min(e.replicas for e in world.estimates) >= 2.2


def test_a_reset_counter_is_tolerated() -> None:
    world = World(lambda t: 10, seed=None).run(900)
    before = world.last
    world.arrived = 0
    world.run(900)
    for e in world.estimates:
        assert 0 < e.arrival_rate <= before.arrival_rate * 1.01
        assert 2.2 <= e.replicas <= max(4.0, before.replicas * 1.3)
    assert world.last.arrival_rate == pytest.approx(10)


@pytest.mark.parametrize("away_min", [2, 10, 20, 55])
@pytest.mark.parametrize("since_min", [1, 3, 10])
def test_an_observer_that_was_away_releases_no_needed_replica(away_min: int, since_min: int) -> None:
    """Back in the middle of a rush of which it has seen nothing, it spread what had come over all that time: 2 of the 6
    replicas that are needed.
    """
    rush, rate, needed = 3600, 30.0, 8

    def seen(second: int) -> Observation:
        arrived = 2 * second if second < rush else 2 * rush + int(rate * (second - rush))
        ready = 1 if second < rush else needed
        fleet = Workers(ready=ready, loading=0, processed=float(arrived), working_s=arrived / 5)
        return Observation(time=float(second), arrived=arrived, pending=0, in_flight=2 * ready, fleet=fleet)

    back = rush + 60 * since_min
    demand = Demand(DemandSettings())
    for second in range(back - 60 * away_min):
        demand.observe(seen(second))
    for second in range(back, back + 120):
        assert 5 < demand.observe(seen(second)).replicas <= 2 * needed


@pytest.mark.parametrize("field", ["headroom", "latency_target_s", "lag_threshold", "cold_start_s"])
@pytest.mark.parametrize("value", [math.inf, math.nan, 1e300, 1e-320, -1.0])
def test_every_setting_is_bounded(field: str, value: float) -> None:
    try:
        found = msgspec.convert({field: value}, DemandSettings)
    except msgspec.ValidationError:
        return
    assert 0 <= getattr(found, field) < 1e300
